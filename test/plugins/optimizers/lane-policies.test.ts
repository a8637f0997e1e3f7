import { batching } from '../../../plugins/optimizers/batching/index.ts'
import { priority } from '../../../plugins/optimizers/priority/index.ts'
import { throttle } from '../../../plugins/optimizers/throttle/index.ts'
import { lanePolicyConformance } from '../../conformance/lane-policy.ts'

lanePolicyConformance('no policy', { plugins: () => [] })
lanePolicyConformance('priority', { plugins: () => [priority()] })
lanePolicyConformance('batching', { plugins: () => [batching()], knobs: { 'batching.max_delay_ms': 20 } })
lanePolicyConformance('throttle', { plugins: () => [throttle({ budgets: { b: { requests: 40, outputTokens: 500 } } })], knobs: { 'throttle.limit': 3 } })
lanePolicyConformance('all together', { plugins: () => [priority(), throttle(), batching()] })
