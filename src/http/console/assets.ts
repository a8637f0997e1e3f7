/** The page's files: a fixed list, read once, with types and tags. Nothing else on the disk can be asked for. */
import { createHash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { fileURLToPath } from 'node:url'

export interface Asset {
  readonly type: string
  readonly bytes: Buffer
  readonly etag: string
}

const PAGE_FILES = [
  'index.html',
  'console.css',
  'icon.svg',
  'main.js',
  'charts.js',
  'demo.js',
  'dom.js',
  'health.js',
  'lanes.js',
  'loops.js',
  'moves.js',
  'operator.js',
  'plot.js',
  'slow-calls.js',
  'sparkline.js',
  'store.js',
  'story.js',
  'theme.js',
  'verdict.js',
  'words.js',
] as const

const TYPES: Readonly<Record<string, string>> = {
  html: 'text/html; charset=utf-8',
  css: 'text/css; charset=utf-8',
  js: 'text/javascript; charset=utf-8',
  svg: 'image/svg+xml',
}

/** By the name that the page asks for; throws when one is missing, which means a broken installation. */
export function loadAssets(): ReadonlyMap<string, Asset> {
  const assets = new Map<string, Asset>()
  for (const name of PAGE_FILES) assets.set(name, asset(name, new URL(`./page/${name}`, import.meta.url)))
  const uplot = createRequire(import.meta.url).resolve('uplot')
  assets.set('uplot.js', asset('uplot.js', uplot.replace(/uPlot\.cjs\.js$/, 'uPlot.iife.min.js')))
  assets.set('uplot.css', asset('uplot.css', uplot.replace(/uPlot\.cjs\.js$/, 'uPlot.min.css')))
  return assets
}

function asset(name: string, place: string | URL): Asset {
  const bytes = readFileSync(typeof place === 'string' ? place : fileURLToPath(place))
  return { type: TYPES[name.slice(name.lastIndexOf('.') + 1)] as string, bytes, etag: `"${createHash('sha256').update(bytes).digest('base64url').slice(0, 22)}"` }
}
