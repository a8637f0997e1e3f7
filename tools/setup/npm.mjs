// @ts-check
/** How npm is called, and what its failures mean in one line. */
import { delimiter, dirname } from 'node:path'

/**
 * npm run by a given Node: the npm that started us where there is one, else the one on the PATH.
 * @param {string} node absolute path
 * @param {string} folder where package.json and package-lock.json lie
 * @param {readonly string[]} extra
 * @param {NodeJS.ProcessEnv} env
 * @returns {{ command: string, args: string[], env: NodeJS.ProcessEnv }}
 */
export function npmCi(node, folder, extra, env) {
  const args = [
    'ci', '--prefix', folder, '--ignore-scripts', '--include=dev', '--include=optional', '--no-audit', '--no-fund',
    // `npm run -s` hands its silence down, and then a failure would have no reason; at `verbose` npm also tells why it
    // left out an optional package, which it does not count as a failure
    '--loglevel=verbose', '--no-progress',
    // npm's own waits (10 s, then 60 s) make a machine without network look hung
    '--fetch-retries=4', '--fetch-retry-mintimeout=500', '--fetch-retry-factor=3', '--fetch-retry-maxtimeout=15000',
    ...extra,
  ]
  // the shebang of npm is `env node`: on the PATH the chosen Node has to come first
  const childEnv = { ...env, PATH: [dirname(node), env['PATH'] ?? '', dirname(process.execPath)].join(delimiter) }
  const cli = env['npm_execpath']
  return cli !== undefined && /npm-cli\.c?js$/.test(cli)
    ? { command: node, args: [cli, ...args], env: childEnv }
    : { command: 'npm', args, env: childEnv }
}

/** @type {ReadonlyArray<readonly [pattern: RegExp, meaning: (code: string) => string]>} first match wins */
const meanings = [
  [/\b(ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ECONNRESET|ETIMEDOUT|ENETUNREACH|EHOSTUNREACH|ERR_SOCKET_TIMEOUT|EIDLETIMEOUT|FETCH_ERROR)\b/,
    (code) => `npm could not reach its registry (${code}): check the network or the proxy, then run again`],
  [/\b(ENOTCACHED)\b/, () => 'npm is set to offline and its cache lacks a package: run once with the network'],
  [/\b(UNABLE_TO_[A-Z_]+|SELF_SIGNED_CERT[A-Z_]*|CERT_[A-Z_]+|DEPTH_ZERO_SELF_SIGNED_CERT)\b/,
    (code) => `npm does not trust the registry's certificate (${code}): set NODE_EXTRA_CA_CERTS or npm's cafile`],
  [/\b(ENOSPC)\b/, () => 'the disk is full (ENOSPC): free about 600 MB, then run again'],
  [/\b(EACCES|EPERM|EROFS)\b/, (code) => `npm may not write here (${code}): check who owns this folder and npm's cache`],
  [/\b(EINTEGRITY)\b/, () => 'a package differs from what the lockfile expects (EINTEGRITY): `npm cache clean --force`, then run again'],
  [/\b(ETARGET|E404)\b/, (code) => `the registry lacks a package that the lockfile names (${code}): is another registry or a mirror set?`],
  [/\b(E401|E403|ENEEDAUTH)\b/, (code) => `the registry refused a package (${code}): check npm's registry and credentials`],
  [/\b(ENOTEMPTY|EBUSY)\b/, (code) => `another program works in node_modules (${code}): wait for it, then run again`],
  [/\b(EUSAGE)\b/, () => 'package-lock.json does not fit package.json (EUSAGE): run `npm install` with Node 24, or restore both files'],
]

/**
 * @param {string} output what npm printed
 * @returns {string} one line
 */
export function npmFailure(output) {
  for (const [pattern, meaning] of meanings) {
    const code = pattern.exec(output)?.[1]
    if (code !== undefined) return meaning(code)
  }
  const errors = output.split('\n').filter((line) => /^npm (error|ERR!)/.test(line))
    .map((line) => line.replace(/^npm (error|ERR!)\s*/, '').trim())
    .filter((line) => line !== '' && !line.includes('A complete log of this run'))
  return `npm ci failed: ${errors[0] ?? 'it said nothing; run `npm ci` by hand'}`
}

/**
 * @param {string} output
 * @returns {boolean} whether asking again could help: the first answer came from npm's cache, or a folder was busy
 */
export function isWorthRetrying(output) {
  return /\bcode (ETARGET|E404|ENOTCACHED|EINTEGRITY|ENOTEMPTY|EBUSY)\b/.test(output)
}

/**
 * Without network npm tries every package in turn, for minutes. No answer to any, after three attempts at one
 * (or one attempt at many, where the name server is slow to say no), is enough.
 * @param {string} output so far, at log level verbose
 * @returns {boolean}
 */
export function isUnreachable(output) {
  const failures = output.match(/attempt \d+ failed with [A-Z]/g)?.length ?? 0
  return (failures >= 20 || /attempt 3 failed with [A-Z]/.test(output)) && !/fetch GET \d+ (?!.*\(cache hit\))/.test(output)
}
