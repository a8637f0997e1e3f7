/**
 * A board in Grafana's newer form, `dashboard.grafana.app/v2` (Grafana 13; not for file provisioning): made from the classic
 * one, so that there is one source, and without the SDK, so that those who only copy boards need none. What has no place in
 * the new form is an error, never left out.
 */
type Json = Readonly<Record<string, any>>

export const API_VERSION = 'dashboard.grafana.app/v2'
const QUERY_VERSION = 'v0'

/** Enumerations were numbers. */
const CURSOR_SYNC = ['Off', 'Crosshair', 'Tooltip']
const REFRESH = ['never', 'onDashboardLoad', 'onTimeRangeChanged']
const SORT = ['disabled', 'alphabeticalAsc', 'alphabeticalDesc', 'numericalAsc', 'numericalDesc', 'alphabeticalCaseInsensitiveAsc', 'alphabeticalCaseInsensitiveDesc']

/** A manifest: what Grafana's API, its import page and its command line take. */
export function boardV2(board: Json): Json {
  const { uid, title, description, tags, editable, graphTooltip, time, timezone, refresh, fiscalYearStartMonth, schemaVersion, panels, templating, annotations, links, ...rest } = board
  nothingLeft(rest, title)
  return {
    apiVersion: API_VERSION,
    kind: 'Dashboard',
    metadata: { name: uid },
    spec: {
      title,
      description,
      tags,
      editable,
      cursorSync: CURSOR_SYNC[graphTooltip],
      preload: false,
      timeSettings: { from: time.from, to: time.to, timezone, autoRefresh: refresh, autoRefreshIntervals: ['5s', '10s', '30s', '1m', '5m', '15m', '30m', '1h', '2h', '1d'], fiscalYearStartMonth, hideTimepicker: false },
      variables: templating.list.map(variable),
      annotations: annotations.list.map(annotation),
      links,
      elements: Object.fromEntries(allPanels(panels).map((panel) => [elementName(panel), element(panel)])),
      layout: { kind: 'RowsLayout', spec: { rows: rowsOf(panels) } },
    },
  }
}

const elementName = ({ id }: Json): string => `panel-${id}`
const allPanels = (panels: readonly Json[]): Json[] => panels.flatMap((panel) => (panel['type'] === 'row' ? panel['panels'] : [panel]))

function query({ datasource, refId, ...spec }: Json): Json {
  return { kind: 'DataQuery', group: datasource.type, version: QUERY_VERSION, datasource: { name: datasource.uid }, spec }
}

function element(panel: Json): Json {
  const { id, type, title, description, transparent, datasource, gridPos, targets, transformations = [], options, fieldConfig, ...rest } = panel
  nothingLeft(rest, title)
  return {
    kind: 'Panel',
    spec: {
      id,
      title,
      description,
      links: [],
      transparent,
      data: {
        kind: 'QueryGroup',
        spec: {
          queries: targets.map((target: Json) => ({ kind: 'PanelQuery', spec: { query: query(target), refId: target['refId'], hidden: false } })),
          transformations: transformations.map(({ id: group, ...spec }: Json) => ({ kind: 'Transformation', group, spec })),
          queryOptions: {},
        },
      },
      vizConfig: { kind: 'VizConfig', group: type, version: '', spec: { options, fieldConfig } },
    },
  }
}

/** Classic panels follow the row that they belong to; now they are in it, and count their lines from its own. */
function rowsOf(panels: readonly Json[]): Json[] {
  const rows: { row: Json; inside: Json[] }[] = []
  for (const panel of panels) {
    if (panel['type'] === 'row') rows.push({ row: panel, inside: [...panel['panels']] })
    else if (rows.length === 0) throw new TypeError(`${panel['title']}: a panel outside of any row`)
    else rows.at(-1)?.inside.push(panel)
  }
  return rows.map(({ row, inside }) => ({
    kind: 'RowsLayoutRow',
    spec: {
      title: row['title'],
      collapse: row['collapsed'],
      layout: {
        kind: 'GridLayout',
        spec: {
          items: inside.map((panel) => {
            const { x, y, w, h } = panel['gridPos']
            return { kind: 'GridLayoutItem', spec: { x, y: y - row['gridPos'].y - 1, width: w, height: h, element: { kind: 'ElementReference', name: elementName(panel) } } }
          }),
        },
      },
    },
  }))
}

function variable({ type, ...classic }: Json): Json {
  if (type === 'datasource') {
    // `auto…` belong to intervals; the classic form gives them to all.
    const { name, label, query: pluginId, multi, includeAll, skipUrlSync, allowCustomValue, auto, auto_min, auto_count, ...rest } = classic
    nothingLeft(rest, name)
    return { kind: 'DatasourceVariable', spec: { name, label, pluginId, multi, includeAll, skipUrlSync, allowCustomValue, hide: 'dontHide', refresh: 'onDashboardLoad', regex: '', current: { text: '', value: '' }, options: [] } }
  }
  if (type !== 'query') throw new TypeError(`${classic['name']}: no such variable in the new form: ${type}`)
  const { name, label, query: text, definition, datasource, multi, includeAll, allValue, skipUrlSync, allowCustomValue, refresh, sort, current, auto, auto_min, auto_count, ...rest } = classic
  nothingLeft(rest, name)
  return {
    kind: 'QueryVariable',
    spec: {
      name,
      label,
      // Where Grafana itself puts a query that is a string.
      query: query({ datasource, __legacyStringValue: text }),
      definition,
      multi,
      includeAll,
      allValue,
      skipUrlSync,
      allowCustomValue,
      refresh: REFRESH[refresh],
      sort: SORT[sort],
      current,
      hide: 'dontHide',
      regex: '',
      options: [],
    },
  }
}

function annotation({ name, enable, hide, iconColor, builtIn, datasource, target, ...ofPrometheus }: Json): Json {
  return {
    kind: 'AnnotationQuery',
    spec: { name, enable, hide, iconColor, builtIn: builtIn === 1, query: query({ ...target, datasource }), legacyOptions: ofPrometheus },
  }
}

function nothingLeft(rest: Json, where: string): void {
  const [key] = Object.keys(rest)
  if (key !== undefined) throw new TypeError(`${where}: ${key} has no place in ${API_VERSION}`)
}
