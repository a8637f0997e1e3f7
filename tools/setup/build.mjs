// @ts-check
/** What the build reads and leaves: TypeScript by tsc, a declared list of other files by copy, nothing left over. */
import { copyFileSync, existsSync, mkdirSync, readFileSync, readdirSync, rmSync, statSync } from 'node:fs'
import { dirname, join } from 'node:path'
import { hashFiles, listFiles } from './stamp.mjs'

/** Folders that tsconfig.json includes. */
export const sourceFolders = ['src', 'plugins', 'examples', 'bench', 'dashboards', 'tools', 'test']

/** Folders whose assets are read at run time from beside the code, by `new URL('./x', import.meta.url)`. */
export const assetFolders = ['src', 'plugins', 'examples', 'bench']

/** Kinds of files that the code reads beside itself. Anything else stays where it is. */
export const assetKinds = ['.gguf', '.html', '.css', '.js', '.svg', '.json', '.yaml', '.md', '.txt', '.woff2']

/** @param {string} file */
const isSource = (file) => /\.ts$/.test(file) && !file.endsWith('.d.ts')

/** @param {string} file */
const isAsset = (file) => assetKinds.some((kind) => file.endsWith(kind)) && !/(^|\/)README\.md$/.test(file)

/**
 * @param {string} root
 * @returns {{ sources: string[], scripts: string[], assets: string[] }} relative to root
 */
export function buildInputs(root) {
  return {
    sources: listFiles(root, sourceFolders, isSource),
    scripts: listFiles(root, ['tools'], (file) => file.endsWith('.mjs')),
    assets: listFiles(root, assetFolders, isAsset),
  }
}

/**
 * @param {string} root
 * @param {{ sources: string[], scripts: string[], assets: string[] }} inputs
 * @returns {string} hash of all that the build depends on
 */
export function buildHash(root, inputs) {
  return hashFiles(root, [...inputs.sources, ...inputs.scripts, ...inputs.assets, 'tsconfig.json', 'package-lock.json'])
}

/**
 * @param {string} root
 * @param {{ sources: string[], assets: string[] }} inputs
 * @returns {string | undefined} the first output that is not in dist
 */
export function missingOutput(root, inputs) {
  const outputs = [...inputs.sources.map((file) => file.replace(/\.ts$/, '.js')), ...inputs.assets]
  return outputs.find((file) => !existsSync(join(root, 'dist', file)))
}

/**
 * @param {string} root
 * @param {readonly string[]} assets
 */
export function copyAssets(root, assets) {
  for (const file of assets) {
    const target = join(root, 'dist', file)
    mkdirSync(dirname(target), { recursive: true })
    if (isSame(join(root, file), target)) continue
    copyFileSync(join(root, file), target)
  }
}

/**
 * @param {string} from
 * @param {string} to
 */
function isSame(from, to) {
  const target = statSync(to, { throwIfNoEntry: false })
  return target !== undefined && target.size === statSync(from).size && readFileSync(from).equals(readFileSync(to))
}

/**
 * Removes what an earlier build left of sources that are gone. Not the whole of dist: a server that runs from it
 * may still load modules.
 * @param {string} root
 * @param {{ sources: string[], scripts: string[], assets: string[] }} inputs
 * @returns {string[]} what was removed, relative to dist
 */
export function prune(root, inputs) {
  const known = new Set([...inputs.assets, ...inputs.sources, ...inputs.scripts])
  const dist = join(root, 'dist')
  if (!existsSync(dist)) return []
  const stale = readdirSync(dist)
    .flatMap((entry) => listFiles(dist, [entry], () => true))
    .filter((file) => !originsOf(file).some((origin) => known.has(origin)))
  for (const file of stale) rmSync(join(dist, file), { force: true })
  return stale
}

/**
 * @param {string} output relative to dist
 * @returns {string[]} sources that could have made it
 */
export function originsOf(output) {
  const base = output.replace(/\.map$/, '').replace(/\.d\.(m?)ts$/, '.$1js')
  return [output, base.replace(/\.js$/, '.ts'), base]
}
