/** Environment variables that are meant for a knob and name none: a typo there would be ignored without a word. */
import { builtin } from '../../plugins/builtin.ts'
import type { Governor } from '../governor-contract.ts'
import { knobEnvName } from '../knobs/knob-spec.ts'

/** Those that begin as the knobs of something configured do. */
export function strayVariables({ knobs }: Pick<Governor, 'knobs'>, env: Readonly<Record<string, string | undefined>> = process.env): string[] {
  const names = [...knobs.all()].map(({ spec }) => spec.name)
  const known = new Set([...names.map(knobEnvName), ...(builtin.variables ?? [])])
  const beginnings = [...new Set(names.map((name) => `${knobEnvName(name.split('.', 1)[0] as string)}_`))]
  return Object.keys(env).filter((variable) => !known.has(variable) && beginnings.some((beginning) => variable.startsWith(beginning)))
}
