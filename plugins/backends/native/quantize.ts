/** Turns a GGUF model's matrices into 8-bit or 4-bit blocks and says what that cost. */
import { closeSync, openSync, readSync, statSync } from 'node:fs'
import { readGguf } from './gguf.ts'
import type { GgufTensor } from './gguf.ts'
import { dequantize, TensorReader } from './gguf-dequantize.ts'
import type { MetadataValue } from './gguf-metadata.ts'
import { readModel, type Model } from './gguf-model.ts'
import type { TensorTypeName } from './gguf-types.ts'
import { forFile, ModelError } from './model-error.ts'
import { encodeHalf, Q4_0, Q8_0, type BlockEncoder } from './quantize-blocks.ts'
import { columnEnergies } from './quantize-calibrate.ts'
import { measureModel, type Measured } from './quantize-measure.ts'
import { GgufWriter } from './quantize-writer.ts'

export type QuantizeType = 'q8_0' | 'q4_0'

export interface QuantizeOptions {
  readonly input: string
  readonly output: string
  readonly type: QuantizeType
  /** Text that the model runs on first, so that scales favour the inputs that are large in practice. Matters for q4_0. */
  readonly calibrate?: string
  /** Text for perplexity and accuracy before and after; default: the calibration text; neither: not measured. */
  readonly evaluate?: string
  readonly signal?: AbortSignal
}

export interface QuantizeReport {
  readonly input: string
  readonly output: string
  readonly type: QuantizeType
  readonly bytes: { readonly before: number; readonly after: number }
  /** Tensors by the type that they have now. */
  readonly tensors: Readonly<Partial<Record<TensorTypeName, number>>>
  /** Weights cut to the largest code, out of all that were quantised. */
  readonly saturated: number
  readonly quantised: number
  /** Root of the mean squared error, as a share of the weights' own root mean square. */
  readonly relativeError: number
  readonly calibrated: boolean
  readonly before?: Measured
  readonly after?: Measured
}

/** GGUF's numbers for "mostly of this type". */
const FILE_TYPE = { q8_0: 7, q4_0: 2 } as const
const QUANTIZATION_VERSION = 2

/**
 * Vectors stay as they are; matrices whose rows are not whole blocks become F16; with q4_0 the output matrix is kept at
 * 8 bits, since errors there reach the result directly.
 * @throws ModelError for the input; the signal's reason when aborted
 */
export async function runQuantize(options: QuantizeOptions): Promise<QuantizeReport> {
  const { input, output, type, calibrate, evaluate = calibrate, signal = new AbortController().signal } = options
  signal.throwIfAborted()
  const gguf = readGguf(input)
  const model = forFile(input, () => readModel(gguf))
  const energies = calibrate === undefined ? undefined : await columnEnergies(gguf, model, calibrate, signal)
  signal.throwIfAborted()

  const tensors = [...gguf.tensors.values()]
  const plan = tensors.map((tensor) => ({ name: tensor.name, shape: tensor.shape, type: targetType(tensor, type, model) }))
  const writer = new GgufWriter(output, metadataFor(gguf.metadata.entries(), type), plan)
  const reader = new TensorReader(gguf)
  const sum = { saturated: 0, quantised: 0, error: 0, energy: 0 }
  const counts: Partial<Record<TensorTypeName, number>> = {}
  try {
    tensors.forEach((tensor, index) => {
      signal.throwIfAborted()
      const to = (plan[index] as { type: TensorTypeName }).type
      counts[to] = (counts[to] ?? 0) + 1
      const encoder = ({ Q8_0, Q4_0 } as Partial<Record<TensorTypeName, BlockEncoder>>)[to]
      if (to === tensor.type) writer.write(rawBytes(input, tensor))
      else if (encoder === undefined) writer.write(encodeHalf(reader.read(tensor)))
      else writer.write(encodeTensor(reader.read(tensor), tensor.shape[0] as number, encoder, energies?.get(tensor.name), sum))
    })
    writer.finish()
  } catch (error) {
    writer.abandon()
    throw error
  } finally {
    reader.close()
  }
  const report = {
    input, output, type,
    bytes: { before: gguf.fileBytes, after: statSync(output).size },
    tensors: counts,
    saturated: sum.saturated,
    quantised: sum.quantised,
    relativeError: sum.energy === 0 ? 0 : Math.sqrt(sum.error / sum.energy),
    calibrated: energies !== undefined,
  }
  if (evaluate === undefined) return report
  return { ...report, before: await measureModel(input, evaluate, signal), after: await measureModel(output, evaluate, signal) }
}

function targetType(tensor: GgufTensor, type: QuantizeType, { tensors }: Model): TensorTypeName {
  const [columns = 1, rows = 1] = tensor.shape
  if (tensor.shape.length < 2 || rows === 1) return tensor.type
  if (!['F32', 'F16', 'BF16'].includes(tensor.type)) throw new ModelError('unsupported', `tensor ${tensor.name} is ${tensor.type} already: quantise from F32, F16 or BF16`)
  if (columns % 32 !== 0) return 'F16'
  if (type === 'q8_0' || tensor.name === tensors.output.name) return 'Q8_0'
  return 'Q4_0'
}

function* metadataFor(entries: Iterable<[string, MetadataValue]>, type: QuantizeType): Generator<readonly [string, MetadataValue]> {
  for (const [key, value] of entries) if (key !== 'general.file_type' && key !== 'general.quantization_version') yield [key, value]
  yield ['general.file_type', { type: 'uint32', value: FILE_TYPE[type] }]
  yield ['general.quantization_version', { type: 'uint32', value: QUANTIZATION_VERSION }]
}

function encodeTensor(values: Float32Array, columns: number, encoder: BlockEncoder, importance: Float32Array | undefined, sum: { saturated: number; quantised: number; error: number; energy: number }): Uint8Array {
  const { blockValues, blockBytes } = encoder
  const bytes = new Uint8Array((values.length / blockValues) * blockBytes)
  const view = new DataView(bytes.buffer)
  for (let block = 0; block < values.length / blockValues; block++) {
    sum.saturated += encoder.encode(values, block * blockValues, view, block * blockBytes, importance, (block * blockValues) % columns)
  }
  const back = new Float32Array(values.length)
  dequantize(encoder.name, bytes, back)
  for (let i = 0; i < values.length; i++) {
    const value = values[i] as number
    sum.energy += value * value
    sum.error += (value - (back[i] as number)) ** 2
  }
  sum.quantised += values.length
  return bytes
}

function rawBytes(path: string, { name, offset, bytes }: GgufTensor): Uint8Array {
  const file = openSync(path, 'r')
  try {
    const data = new Uint8Array(bytes)
    if (readSync(file, data, 0, bytes, offset) !== bytes) throw new ModelError('unreadable', `${path}: the file became shorter while ${name} was read`)
    return data
  } finally {
    closeSync(file)
  }
}
