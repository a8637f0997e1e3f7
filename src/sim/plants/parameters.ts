/** Plant parameters as files have them, and the plant that they describe. */
import { z } from 'zod'
import type { Clock } from '../../core/clock.ts'
import { describeIssues } from '../../core/validation.ts'
import { batchServer, batchServerParameters } from './batch-server.ts'
import { changingAnswers, changingAnswersParameters } from './changing-answers.ts'
import { hostedApi, hostedApiParameters } from './hosted-api.ts'
import { llmServer, llmServerParameters } from './llm-server.ts'
import type { Plant } from './plant.ts'

export const plantParameters = z.discriminatedUnion('kind', [batchServerParameters, llmServerParameters, hostedApiParameters, changingAnswersParameters])
/** Defaults filled in. */
export type PlantParameters = z.output<typeof plantParameters>
/** As a file has it. */
export type PlantInput = z.input<typeof plantParameters>

/** Throws a TypeError that says where the parameters are wrong. */
export function readPlant(value: unknown, source = 'plant'): PlantParameters {
  const parsed = plantParameters.safeParse(value, { reportInput: true })
  if (!parsed.success) throw new TypeError(`${source}: ${describeIssues(parsed.error)}`)
  return parsed.data
}

export function createPlant(parameters: PlantParameters, clock: Clock): Plant {
  switch (parameters.kind) {
    case 'batch-server':
      return batchServer(parameters, clock)
    case 'llm-server':
      return llmServer(parameters, clock)
    case 'hosted-api':
      return hostedApi(parameters, clock)
    case 'changing-answers':
      return changingAnswers(parameters, clock)
  }
}
