/** Single-operator vectors of the ONNX node tests, from the data folder: `kernels/onnx-node-kernels.jsonl.gz`. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { halfToFloat } from '../../plugins/backends/native/gguf-dequantize.ts'
import { dataPath } from './data.ts'

export interface OnnxTensor {
  readonly dtype: string
  readonly shape: readonly number[]
  /** Half precision and booleans as numbers too. */
  readonly values: Float32Array
}

export interface OnnxCase {
  readonly name: string
  readonly op: string
  readonly attrs: Readonly<Record<string, number>>
  /** By name; optional inputs that are absent are not there. */
  readonly inputs: ReadonlyMap<string, OnnxTensor>
  readonly outputs: readonly OnnxTensor[]
  readonly rtol: number
  readonly atol: number
}

interface RawTensor {
  dtype: string
  shape: number[]
  b64: string
}

/** Call inside `need('data')`. */
export function onnxCases(op: string): OnnxCase[] {
  const lines = gunzipSync(readFileSync(dataPath('kernels/onnx-node-kernels.jsonl.gz'))).toString().trim().split('\n')
  return lines
    .map((line) => JSON.parse(line) as Omit<OnnxCase, 'inputs' | 'outputs'> & { in_names: string[]; inputs: (RawTensor | null)[]; outputs: RawTensor[] })
    .filter((raw) => raw.op === op)
    .map((raw) => {
      const present = raw.in_names.filter((name) => name !== '')
      const tensors = raw.inputs.filter((tensor) => tensor !== null)
      return { ...raw, inputs: new Map(present.map((name, index) => [name, decode(tensors[index] as RawTensor)])), outputs: raw.outputs.map(decode) }
    })
}

function decode({ dtype, shape, b64 }: RawTensor): OnnxTensor {
  const bytes = Buffer.from(b64, 'base64')
  const copy = bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength)
  if (dtype === 'float32') return { dtype, shape, values: new Float32Array(copy) }
  if (dtype === 'float16') return { dtype, shape, values: Float32Array.from(new Uint16Array(copy), halfToFloat) }
  if (dtype === 'int64') return { dtype, shape, values: Float32Array.from(new BigInt64Array(copy), Number) }
  if (dtype === 'bool') return { dtype, shape, values: Float32Array.from(new Uint8Array(copy)) }
  throw new Error(`the ONNX reader has no ${dtype}`)
}
