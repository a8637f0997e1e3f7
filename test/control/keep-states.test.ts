import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, it } from 'vitest'
import { throttle } from '../../plugins/builtin.ts'
import { loadStates, saveStates } from '../../src/control/state-file.ts'
import { createGovernor } from '../../src/index.ts'
import { manualClock } from '../support/manual-clock.ts'
import { scriptedBackend } from '../support/scripted-backend.ts'

it('a process that serves nothing does not forget what an earlier one learned, and drops what no controller asks for', async () => {
  const folder = await mkdtemp(join(tmpdir(), 'flyball-states-'))
  const stateFile = join(folder, 'states.json')
  const learned = { unitMs: [1, 2, 3] }
  await saveStates(stateFile, { 'throttle{backend=b}': learned, 'gone{backend=b}': 1 })
  const { states } = await loadStates(stateFile)
  const governor = createGovernor({ clock: manualClock(), env: {}, stateFile, savedStates: states, plugins: [throttle()], backends: [scriptedBackend({ name: 'b' })] })
  await governor.close()
  expect((await loadStates(stateFile)).states).toEqual({ 'throttle{backend=b}': learned })
  await rm(folder, { recursive: true })
})
