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

/** A number of another kind is named: 1.5, NaN. */
const NUMERIC: ReadonlySet<string> = new Set(['number', 'int'])

/** Of what, and how much there was: numbers say nothing of anybody's text. */
function amount({ origin, input }: Extract<Issue, { code: 'too_small' | 'too_big' }>): string {
  if (origin === 'string') return ` characters, got ${typeof input === 'string' ? input.length : kindOf(input)}`
  if (origin === 'array') return ` items, got ${Array.isArray(input) ? input.length : kindOf(input)}`
  return typeof input === 'number' ? `, got ${input}` : ''
}

function describe(issue: Issue): string {
  const at = issue.path.length === 0 ? '' : ` at ${issuePath(issue.path)}`
  switch (issue.code) {
    case 'invalid_type':
      return `expected ${issue.expected === 'record' ? 'object' : issue.expected}, got ${NUMERIC.has(issue.expected) && typeof issue.input === 'number' ? issue.input : kindOf(issue.input)}${at}`
    case 'unrecognized_keys':
      return `unknown key ${issue.keys.map((key) => JSON.stringify(key)).join(', ')}${at}`
    case 'invalid_value':
      return `expected one of ${issue.values.map(String).join(', ')}${at}`
    case 'too_small':
      return `expected ${issue.inclusive === false ? 'more than' : 'at least'} ${issue.minimum}${amount(issue)}${at}`
    case 'too_big':
      return `expected ${issue.inclusive === false ? 'less than' : 'at most'} ${issue.maximum}${amount(issue)}${at}`
    case 'invalid_format':
      return `${issue.format === 'url' ? 'expected a URL' : issue.message}${at}`
    default:
      return `${issue.message}${at}`
  }
}

export function describeIssues(error: ZodError, max = 5): string {
  const lines = error.issues.slice(0, max).map(describe)
  const more = error.issues.length - lines.length
  return lines.join('; ') + (more > 0 ? `; and ${more} more` : '')
}
