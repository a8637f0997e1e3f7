/** One text for one value: key order does not matter, and different values never share a text. */

/** Deeper than any request that means something; also keeps cycles from running away. */
const MAX_DEPTH = 128

/** Undefined: the value holds something that has no faithful text (a function, a class instance, a cycle), so it can be no key. */
export function canonicalJson(value: unknown, skip?: ReadonlySet<string>): string | undefined {
  try {
    return write(value, 0, skip)
  } catch (error) {
    if (error === UNFIT) return undefined
    throw error
  }
}

/** With its length in front, nothing in it needs an escape: a long prompt is not copied to find out. */
const text = (value: string): string => (value.isWellFormed() ? `"${value.length}:${value}` : `'${JSON.stringify(value)}`)

const UNFIT = new Error('no canonical text')

function write(value: unknown, depth: number, skip?: ReadonlySet<string>): string {
  switch (typeof value) {
    case 'string':
      return text(value)
    case 'boolean':
      return value ? 'true' : 'false'
    case 'number':
      // JSON has no text for these, and would make them all null; -0 and 0 answer alike in some functions and not in others.
      return Number.isFinite(value) ? (Object.is(value, -0) ? '@-0' : String(value)) : `@${value}`
    case 'bigint':
      return `@${value}n`
    case 'undefined':
      return '@undefined'
    case 'object':
      break
    default:
      throw UNFIT
  }
  if (value === null) return 'null'
  if (depth >= MAX_DEPTH) throw UNFIT
  if (Array.isArray(value)) {
    let list = '['
    for (let i = 0; i < value.length; i++) list += (i === 0 ? '' : ',') + write(value[i], depth + 1)
    return `${list}]`
  }
  if (ArrayBuffer.isView(value)) return `@${value.constructor.name}:${Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString('base64')}`
  if (value instanceof Date) return `@date:${value.getTime()}`
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype !== Object.prototype && prototype !== null) throw UNFIT
  const record = value as Record<string, unknown>
  let object = '{'
  for (const key of Object.keys(record).sort()) {
    const inner = record[key]
    // A key without a value is as good as no key: JSON drops it on the wire.
    if (inner === undefined || (depth === 0 && skip?.has(key))) continue
    object += `${object === '{' ? '' : ','}${text(key)}:${write(inner, depth + 1)}`
  }
  return `${object}}`
}
