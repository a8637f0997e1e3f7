/** What a `/metrics` page says, as data. */
export interface Family {
  readonly type: string
  /** Labels of each sample; a histogram's `le` left out, and each of its label sets once. */
  readonly labelSets: readonly Readonly<Record<string, string>>[]
}

export function families(page: string): Map<string, Family> {
  const found = new Map<string, { type: string; labelSets: Map<string, Record<string, string>> }>()
  for (const line of page.split('\n')) {
    const [, name, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? []
    if (name !== undefined && type !== undefined) found.set(name, { type, labelSets: new Map() })
    const [, sample, inner = ''] = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? \S+/.exec(line) ?? []
    if (sample === undefined) continue
    const family = found.get(sample) ?? found.get(sample.replace(/_(bucket|sum|count)$/, ''))
    if (!family) throw new Error(`a sample without a TYPE: ${line}`)
    const labels = Object.fromEntries([...inner.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, value]) => [label as string, value as string]))
    delete labels['le']
    family.labelSets.set(JSON.stringify(labels), labels)
  }
  return new Map([...found].map(([name, { type, labelSets }]) => [name, { type, labelSets: [...labelSets.values()] }]))
}
