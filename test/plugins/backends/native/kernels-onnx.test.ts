/** The ONNX project's single-operator vectors, where the operator is one that the kernels have. */
import { readFileSync } from 'node:fs'
import { gunzipSync } from 'node:zlib'
import { describe, expect, it } from 'vitest'
import { loadAddon } from '../../../../plugins/backends/native/engine-addon.ts'
import type { Addon } from '../../../../plugins/backends/native/engine-addon.ts'
import { dataPath } from '../../../support/data.ts'
import { need } from '../../../support/need.ts'

interface Tensor { dtype: string; shape: number[]; b64: string }
interface Vector { name: string; op: string; attrs: Record<string, number>; in_names: string[]; inputs: Tensor[]; outputs: Tensor[]; rtol: number; atol: number }

need('data', 'native').describe('ONNX operator vectors', () => {
  const { probes, kernels } = loadAddon() as Addon
  const vectors = gunzipSync(readFileSync(dataPath('kernels/onnx-node-kernels.jsonl.gz'))).toString().trim().split('\n').map((line) => JSON.parse(line) as Vector)
  const values = ({ b64 }: Tensor): Float32Array => {
    const bytes = Buffer.from(b64, 'base64')
    return new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length))
  }
  const allFloat = ({ inputs, outputs }: Vector): boolean => [...inputs, ...outputs].every(({ dtype }) => dtype === 'float32')
  const close = (got: ArrayLike<number>, wanted: Float32Array, { name }: Vector): void => {
    wanted.forEach((value, i) => expect(Math.abs((got[i] as number) - value), `${name} at ${i}`).toBeLessThanOrEqual(1e-5 + 1e-4 * Math.abs(value)))
  }

  const attentions = vectors.filter((v) => v.op === 'Attention' && allFloat(v) && v.in_names.join() === 'Q,K,V' && v.inputs.every(({ shape }) => shape.length === 4)
    && v.inputs[1]?.shape[3] === v.inputs[2]?.shape[3] && (v.inputs[0]?.shape[3] ?? 0) % 2 === 0 && Object.keys(v.attrs).every((key) => ['scale', 'is_causal'].includes(key)))
  const norms = vectors.filter((v) => v.op === 'RMSNormalization' && allFloat(v))
  const products = vectors.filter((v) => allFloat(v) && v.inputs.length === 2 && v.inputs.every(({ shape }) => shape.length === 2) && (v.op === 'MatMul' || (v.op === 'Gemm' && Object.keys(v.attrs).every((key) => key === 'transB'))))

  it('finds vectors of each kind', () => {
    expect(attentions.length).toBeGreaterThanOrEqual(4)
    expect(norms.length).toBeGreaterThanOrEqual(8)
    expect(products.length).toBeGreaterThanOrEqual(2)
  })

  describe.each(kernels())('%s', (isa) => {
    it.each(attentions)('$name', (vector) => {
      const [Q, K, V] = vector.inputs as [Tensor, Tensor, Tensor]
      const [batches, heads, length, headDim] = Q.shape as [number, number, number, number]
      const [, headsKv, lengthKv] = K.shape as [number, number, number]
      const scale = vector.attrs['scale'] ?? 1 / Math.sqrt(headDim)
      const [q, k, v, wanted] = [values(Q).map((x) => x * scale), values(K), values(V), values(vector.outputs[0] as Tensor)]
      const qpos = Int32Array.from({ length }, (_, i) => (vector.attrs['is_causal'] ? i : lengthKv - 1))
      for (let b = 0; b < batches; b++)
        for (let h = 0; h < heads; h++) {
          const kv = (b * headsKv + Math.floor((h * headsKv) / heads)) * lengthKv * headDim
          const at = (b * heads + h) * length * headDim
          const got = probes.attend(isa, 0, headDim, k.slice(kv, kv + lengthKv * headDim), v.slice(kv, kv + lengthKv * headDim), q.slice(at, at + length * headDim), qpos, 0, 0, Int32Array.of(0))
          close(got, wanted.subarray(at, at + length * headDim), vector)
        }
    })

    it.each(norms)('$name', (vector) => {
      const [x, weight, wanted] = [values(vector.inputs[0] as Tensor), values(vector.inputs[1] as Tensor), values(vector.outputs[0] as Tensor)]
      for (let at = 0; at < x.length; at += weight.length) close(probes.rmsNorm(isa, x.slice(at, at + weight.length), weight, vector.attrs['epsilon'] ?? 1e-5), wanted.subarray(at, at + weight.length), vector)
    })

    it.each(products)('$name', (vector) => {
      const [a, b] = vector.inputs as [Tensor, Tensor]
      const [m, k] = a.shape as [number, number]
      const transposed = Boolean(vector.attrs['transB'])
      const n = (transposed ? b.shape[0] : b.shape[1]) as number
      const given = values(b)
      const rows = transposed ? given : Float32Array.from({ length: n * k }, (_, i) => given[(i % k) * n + Math.floor(i / k)] as number)
      close(probes.gemm(isa, 0, n, k, new Uint8Array(rows.buffer, rows.byteOffset, rows.byteLength), values(a), m), values(vector.outputs[0] as Tensor), vector)
    })
  })
})
