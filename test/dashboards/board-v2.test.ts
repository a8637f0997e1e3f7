/** The newer form says what the classic one says: the same panels, queries, variables and marks, in the same places. */
import { describe, expect, it } from 'vitest'
import { API_VERSION, boardV2 } from '../../dashboards/board-v2.ts'
import { panelsOf } from '../../dashboards/lint.ts'
import { NAMINGS } from '../../dashboards/naming.ts'
import { BOARD_NAMES, readBoard } from './boards.ts'
import { misfits } from './sdk-schema.ts'

type Json = Record<string, any>

describe.each(NAMINGS)('boards in the form v2, for %s', (naming) => {
  const both = (name: string): { classic: Json; spec: Json; manifest: Json } => {
    const classic = readBoard(name, naming) as unknown as Json
    const manifest = boardV2(classic) as Json
    return { classic, manifest, spec: manifest['spec'] }
  }

  it.each(BOARD_NAMES)('%s fits the SDK’s types', (name) => {
    const { manifest, spec, classic } = both(name)
    expect(misfits(manifest, 'resource', 'Manifest')).toEqual([])
    expect(manifest).toMatchObject({ apiVersion: API_VERSION, kind: 'Dashboard', metadata: { name: classic['uid'] } })
    expect(misfits(spec, 'dashboardv2', 'Dashboard')).toEqual([])
    for (const panel of Object.values(spec['elements'] as Json)) {
      for (const { spec: { query } } of panel.spec.data.spec.queries) expect(misfits({ refId: 'A', ...query.spec }, 'prometheus', 'Dataquery')).toEqual([])
    }
  })

  it.each(BOARD_NAMES)('%s keeps every panel, query, variable and mark', (name) => {
    const { classic, spec } = both(name)
    const elements = Object.values(spec['elements'] as Json).map((panel) => panel.spec)
    expect(elements.map(({ id, title, description, vizConfig }) => ({ id, title, description, type: vizConfig.group, options: vizConfig.spec.options, fieldConfig: vizConfig.spec.fieldConfig }))).toEqual(
      (panelsOf(classic as never) as unknown as Json[]).map(({ id, title, description, type, options, fieldConfig }) => ({ id, title, description, type, options, fieldConfig })),
    )
    expect(elements.map(({ data }) => data.spec.queries.map(({ spec: { refId, query } }: Json) => ({ refId, datasource: { type: query.group, uid: query.datasource.name }, ...query.spec })))).toEqual(
      (panelsOf(classic as never) as unknown as Json[]).map(({ targets }) => targets),
    )
    expect(elements.map(({ data }) => data.spec.transformations.map(({ group, spec: { options } }: Json) => ({ id: group, options })))).toEqual(
      (panelsOf(classic as never) as unknown as Json[]).map(({ transformations = [] }) => transformations),
    )
    expect(spec['variables'].map(({ spec: { name: called, pluginId, query } }: Json) => [called, pluginId ?? query.spec.__legacyStringValue])).toEqual(classic['templating'].list.map(({ name: called, query }: Json) => [called, query]))
    expect(spec['annotations'].map(({ spec: { name: called, query, legacyOptions } }: Json) => [called, query.spec.expr, legacyOptions.titleFormat])).toEqual(classic['annotations'].list.map(({ name: called, expr, titleFormat }: Json) => [called, expr, titleFormat]))
    expect(spec['links']).toEqual(classic['links'])
  })

  it.each(BOARD_NAMES)('%s keeps its places: each panel once, in its row, nothing over anything', (name) => {
    const { classic, spec } = both(name)
    expect(spec['layout'].spec.rows.map(({ spec: { title, collapse } }: Json) => [title, collapse])).toEqual(classic['panels'].filter(({ type }: Json) => type === 'row').map(({ title, collapsed }: Json) => [title, collapsed]))
    const placed: string[] = []
    for (const { spec: row } of spec['layout'].spec.rows) {
      const items: Json[] = row.layout.spec.items.map(({ spec: item }: Json) => item)
      placed.push(...items.map(({ element }) => element.name))
      // A row's lines are its own.
      expect(Math.min(...items.map(({ y }) => y))).toBe(0)
      items.forEach((a, i) => {
        expect(a['x'] + a['width']).toBeLessThanOrEqual(24)
        for (const b of items.slice(i + 1)) expect(a['x'] < b['x'] + b['width'] && b['x'] < a['x'] + a['width'] && a['y'] < b['y'] + b['height'] && b['y'] < a['y'] + a['height']).toBe(false)
      })
    }
    expect(placed.toSorted()).toEqual(Object.keys(spec['elements']).toSorted())
  })
})

it('the schema check finds what does not fit', () => {
  const spoilt = (spoil: (spec: Json) => void): string[] => {
    const { spec } = boardV2(readBoard('overview') as unknown as Json) as Json
    spoil(spec)
    return misfits(spec, 'dashboardv2', 'Dashboard')
  }
  expect(spoilt((spec) => void (spec['layout'].spec.rows[0].spec.title = 1))).toHaveLength(1)
  expect(spoilt((spec) => void (spec['cursorSync'] = 1))).toHaveLength(1)
  expect(spoilt((spec) => void (spec['variables'][2].spec.refresh = 2))).not.toEqual([])
  expect(spoilt((spec) => void delete (Object.values(spec['elements'])[0] as Json)['spec'].data)).not.toEqual([])
})

describe('what the new form has no place for', () => {
  const classic = readBoard('overview') as unknown as Json
  it.each([
    ['the board', (copy: Json) => void (copy['weekStart'] = 'monday')],
    ['a panel', (copy: Json) => void (copy['panels'][1].repeat = 'backend')],
    ['a variable', (copy: Json) => void (copy['templating'].list[2].regex = '/x/')],
    ['a kind of variable', (copy: Json) => void (copy['templating'].list[2].type = 'interval')],
    ['a panel before any row', (copy: Json) => void copy['panels'].shift()],
  ])('is refused, not left out: %s', (_, spoil) => {
    const copy = structuredClone(classic)
    spoil(copy)
    expect(() => boardV2(copy)).toThrow(TypeError)
  })
})
