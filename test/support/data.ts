import { existsSync } from 'node:fs'
import { isAbsolute, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

/** The repository root; vitest runs the sources, so this file's own place tells it. */
export const repositoryRoot = fileURLToPath(new URL('../../', import.meta.url))

/** Folder of the traces, models and vectors that stay outside the repository: FLYBALL_DATA, else ../shared/data. */
export function dataRoot(): string {
  const given = process.env['FLYBALL_DATA']
  return given === undefined || given === '' ? join(repositoryRoot, '..', 'shared', 'data') : resolve(repositoryRoot, given)
}

/**
 * Absolute path of a file or folder of the data, such as `traces/azure-conv.csv.gz`.
 * Use it inside `need('data')`: it does not look whether the file is there.
 */
export function dataPath(relative: string): string {
  if (isAbsolute(relative)) throw new Error(`a data path is relative to the data folder, got ${relative}`)
  return join(dataRoot(), relative)
}

/** Whether the data folder is there at all. */
export function hasData(): boolean {
  return existsSync(join(dataRoot(), 'traces')) && existsSync(join(dataRoot(), 'models'))
}
