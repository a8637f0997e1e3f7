/** Every verb of the command line, one line each. Its module is loaded only when it is used. */
import type { Command } from 'commander'

export interface VerbModule {
  /** Adds arguments, options and the action. The action throws for an error: its message is shown as one line. */
  configure(command: Command): void
}

export interface Verb {
  readonly name: string
  readonly summary: string
  load(): Promise<VerbModule>
}

export const VERBS: readonly Verb[] = [
  { name: 'serve', summary: 'serve what a configuration file says', load: () => import('./verbs/serve.ts') },
  { name: 'check-config', summary: 'say what is wrong with a configuration file', load: () => import('./verbs/check-config.ts') },
  { name: 'warm', summary: 'warm the configured backends and leave: for init containers', load: () => import('./verbs/warm.ts') },
  { name: 'generate', summary: 'continue a prompt with a GGUF model', load: () => import('./verbs/generate.ts') },
  { name: 'inspect', summary: 'say what is in a GGUF file', load: () => import('./verbs/inspect.ts') },
  { name: 'tokenize', summary: 'turn text into a model’s tokens', load: () => import('./verbs/tokenize.ts') },
  { name: 'simulate', summary: 'run a trace through the governor in virtual time: what if', load: () => import('./verbs/simulate.ts') },
  { name: 'fit', summary: 'learn a plant’s parameters from spans of a real backend', load: () => import('./verbs/fit.ts') },
  { name: 'explain', summary: 'tell what the loops did and why, from a decision log', load: () => import('./verbs/explain.ts') },
  { name: 'perplexity', summary: 'say how well a GGUF model predicts a text', load: () => import('./verbs/perplexity.ts') },
  { name: 'quantize', summary: 'make a GGUF model smaller: 8 or 4 bits a weight', load: () => import('./verbs/quantize.ts') },
  { name: 'build-native', summary: 'build the C++ engine: needs a C++17 compiler', load: () => import('./verbs/build-native.ts') },
  { name: 'dashboards', summary: 'write the Grafana dashboards and Prometheus rules into a folder', load: () => import('./verbs/dashboards.ts') },
]
