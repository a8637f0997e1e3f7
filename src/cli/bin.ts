#!/usr/bin/env node
// No static imports: an older Node must get as far as the sentence below.
const [major = 0, minor = 0] = process.versions.node.split('.').map(Number)
if (major < 22 || (major === 22 && minor < 19)) {
  console.error(`flyball needs Node >= 22.19, this is v${process.versions.node}`)
  process.exitCode = 1
} else {
  const { main } = await import('./main.ts')
  process.exitCode = await main(process.argv.slice(2))
}

export {}
