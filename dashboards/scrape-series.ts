/** Series that Prometheus itself writes about each scrape, declared like instruments so that panels can name them. */
import type { InstrumentSpec } from '../src/telemetry/instrument-spec.ts'

const own = (name: string, doc: string): InstrumentSpec<never, 'gauge'> => ({ name, kind: 'gauge', unit: '', doc, labels: {} })

export const SCRAPE_SERIES = {
  up: own('up', '1 while the target answers.'),
  duration: own('scrape_duration_seconds', 'How long the scrape took.'),
  samples: own('scrape_samples_scraped', 'Samples in the answer.'),
} as const
