/** Prometheus's rule file, as data. */
export interface RecordingRule {
  readonly record: string
  readonly expr: string
  readonly labels?: Readonly<Record<string, string>>
}

export interface AlertRule {
  /** CamelCase, prefixed `Flyball`; also the section of RUNBOOK.md. */
  readonly alert: string
  readonly expr: string
  readonly for?: string
  readonly labels: { readonly severity: 'page' | 'ticket' } & Readonly<Record<string, string>>
  readonly annotations: { readonly summary: string; readonly description: string; readonly runbook_url: string; readonly dashboard: string }
}

export interface RuleGroup {
  readonly name: string
  readonly interval: string
  readonly rules: readonly (RecordingRule | AlertRule)[]
}

export const isAlert = (rule: RecordingRule | AlertRule): rule is AlertRule => 'alert' in rule
