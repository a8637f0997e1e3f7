/** Reading JSON of others without trusting it. */

export type JsonObject = { readonly [key: string]: unknown }

export const isObject = (value: unknown): value is JsonObject => typeof value === 'object' && value !== null && !Array.isArray(value)
export const objectOf = (value: unknown): JsonObject => (isObject(value) ? value : {})
export const arrayOf = (value: unknown): readonly unknown[] => (Array.isArray(value) ? value : [])
export const stringOf = (value: unknown): string | undefined => (typeof value === 'string' ? value : undefined)
export const booleanOf = (value: unknown): boolean | undefined => (typeof value === 'boolean' ? value : undefined)
export const numberOf = (value: unknown): number | undefined => (typeof value === 'number' && Number.isFinite(value) ? value : undefined)
/** A count: negative numbers are somebody's way to say "unknown". */
export const countOf = (value: unknown): number | undefined => (typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined)
/** `{ key: value }`, or nothing where the value is undefined or null: for building objects without holes. */
export const given = <K extends string, V>(key: K, value: V | null | undefined): { readonly [P in K]?: V } => (value === undefined || value === null ? {} : ({ [key]: value } as { readonly [P in K]: V }))
