/** Others' algorithms behind our interface, from their published formulas in our own code, and the fixed settings. */
import { rejectionShare, failsafe } from './limits/failsafe.ts'
import { aimd } from './limits/aimd.ts'
import { envoyGradient } from './limits/envoy-gradient.ts'
import { gradient2 } from './limits/gradient2.ts'
import { vegas } from './limits/vegas.ts'
import { windowed } from './limits/windowed.ts'
import { limitPlugin } from './limit-plugin.ts'

export const gradient2Limit = limitPlugin('gradient2', 'Netflix Gradient2 in 1 s windows.', () => windowed(gradient2()))
export const vegasLimit = limitPlugin('vegas', 'Netflix Vegas in 1 s windows.', () => windowed(vegas()))
export const aimdLimit = limitPlugin('aimd', 'Netflix AIMD in 1 s windows.', () => windowed(aimd()))
export const envoyLimit = limitPlugin('envoy', 'Envoy’s gradient controller.', () => envoyGradient())
export const failsafeLimit = limitPlugin('failsafe', 'In the style of failsafe-go’s adaptive limiter with its rejection ramp.', () => failsafe(), (lane, limit) => rejectionShare(lane.waiting, limit))

export { clientThrottle } from './client-throttle.ts'
export { clipper } from './clipper.ts'
export { codelLifo } from './codel-lifo.ts'
export { cork } from './cork.ts'
export { fixed } from './static.ts'
export { rayServe, triton } from './triton.ts'
export { ttlCache } from './ttl-cache.ts'
