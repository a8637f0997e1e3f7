/** Zod's findings in one line: "expected X, got Y at path". Never echoes strings from a request body. */
import type { ZodError } from 'zod'

type Issue = ZodError['issues'][number]

export function issuePath(path: readonly PropertyKey[]): string {
  let text = ''
  for (const part of path) text += typeof part === 'number' ? `[${part}]` : `${text === '' ? '' : '.'}${String(part)}`
  return text
}

function kindOf(value: unknown): string {
  if (value === null) return 'null'
  if (value === undefined) return 'nothing'
  return Array.isArray(value) ? 'array' : typeof value
}

function describe(issue: Issue): string {
  const at = issue.path.length === 0 ? '' : ` at ${issuePath(issue.path)}`
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected === 'record' ? 'object' : issue.expected}, got ${kindOf(issue.input)}${at}`
    case 'unrecognized_keys':
      return `unknown key ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}${at}`
    case 'invalid_value':
      return `expected one of ${issue.values.map(String).join(', ')}${at}`
    case 'too_small':
      return `expected at least ${issue.minimum}${at}`
    case 'too_big':
      return `expected at most ${issue.maximum}${at}`
    default:
      return `${issue.message}${at}`
  }
}

export function describeIssues(error: ZodError, max = 5): string {
  const lines = error.issues.slice(0, max).map(describe)
  const more = error.issues.length - lines.length
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '')
}
