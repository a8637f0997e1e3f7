/** Opens a model file with the best engine that is at hand. */
import { ChatTemplate } from './chat-template.ts'
import type { NativeEngine } from './engine-contract.ts'
import { readGguf } from './gguf.ts'
import { readModel, type Model } from './gguf-model.ts'
import { ReferenceEngine } from './reference-engine.ts'
import { Tokenizer } from './tokenizer/tokenizer.ts'

export interface EngineChoice {
  readonly engine: 'auto' | 'cpu' | 'reference'
  readonly maxSequences?: number
  readonly kvBudgetMiB?: number
  readonly threads?: number
}

export interface OpenModel {
  readonly engine: NativeEngine
  readonly model: Model
  readonly tokenizer: Tokenizer
  readonly template: ChatTemplate
}

/** @throws ModelError when the file is bad or needs what no engine here has. */
export async function openEngine(path: string, choice: EngineChoice): Promise<OpenModel> {
  const gguf = readGguf(path)
  const model = readModel(gguf)
  const tokenizer = new Tokenizer(gguf.metadata)
  const template = new ChatTemplate(gguf.metadata, tokenizer)
  const engine = await ReferenceEngine.open(path, choice.maxSequences === undefined ? {} : { maxSequences: choice.maxSequences })
  return { engine, model, tokenizer, template }
}
