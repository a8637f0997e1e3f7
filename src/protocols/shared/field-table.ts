/**
 * Which fields of a request a translation carries. Nothing is dropped in silence: a field is carried, or it may stand
 * at a value that changes nothing, or the request is refused with the field's name.
 */
import { unsupported } from './check-body.ts'
import { isObject, type JsonObject } from './json-value.ts'

/** `carried`; or the values besides null that mean the same as leaving the field out. Fields not named are refused. */
export type FieldRule = 'carried' | { readonly neutral: readonly unknown[] }
export type FieldTable = { readonly [field: string]: FieldRule }

const isEmpty = (value: unknown): boolean => (Array.isArray(value) ? value.length === 0 : isObject(value) && Object.keys(value).length === 0)

/** Throws `unsupported_field` for the first field that `table` does not let through. `path` precedes it in `param`. */
export function checkFields(value: JsonObject, table: FieldTable, path = ''): void {
  for (const field of Object.keys(value)) {
    const present = value[field]
    if (present === null || present === undefined) continue
    const rule = Object.hasOwn(table, field) ? table[field] : undefined
    if (rule === 'carried') continue
    if (rule && (rule.neutral.includes(present) || (rule.neutral.length === 0 && isEmpty(present)))) continue
    throw unsupported(`${path}${field}`, rule ? 'it has no counterpart there' : 'the gateway does not know how to translate it')
  }
}
