/** The log of a process that we own: JSON lines on standard output. */
import { pino } from 'pino'
import type { Logger } from '../core/plugin.ts'

export function cliLog(level: string): Logger {
  const logger = pino({ level, base: null })
  return {
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
  }
}
