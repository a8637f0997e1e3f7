/** The page: takes the stream, keeps the store, draws once a second. */
import { charts } from './charts.js'
import { demo } from './demo.js'
import { byId, setText } from './dom.js'
import { health } from './health.js'
import { lanes } from './lanes.js'
import { loops } from './loops.js'
import { moves } from './moves.js'
import { operator } from './operator.js'
import { repaintAll } from './plot.js'
import { slowCalls } from './slow-calls.js'
import { Store } from './store.js'
import { storyDialog } from './story.js'
import { wireTheme } from './theme.js'
import { verdict } from './verdict.js'

const store = new Store()
const story = storyDialog(store)
const change = operator(store)
const standing = verdict(store)
const parts = [standing, demo(store), charts(store), loops(store, story.open, change), moves(store, story.open), lanes(store), slowCalls(store), health(store, change), change]

let paused = false
/** 0: nothing has ever come. */
let lastTickMs = 0
const openedMs = performance.now()
let boot

/** Silence is news from this long on, s. */
const LOST_AFTER_S = 4
/** A browser comes back by itself after a broken stream, but not after a refusal: a proxy's 502 while the gateway restarts. */
const ASK_AGAIN_MS = 3_000

const seconds = () => Number(byId('range').value)

function draw() {
  if (!store.state) return
  for (const part of parts) part.draw(seconds())
}

function listen() {
  const source = new EventSource('events')
  source.addEventListener('hello', ({ data }) => {
    const message = JSON.parse(data)
    if (boot !== undefined && boot !== message.boot) for (const part of parts) part.reset?.()
    boot = message.boot
    store.hello(message)
    lastTickMs = performance.now()
    setText(byId('title'), store.abilities.title)
    sayLink()
    draw()
  })
  source.addEventListener('tick', ({ data }) => {
    store.tick(JSON.parse(data))
    lastTickMs = performance.now()
    sayLink()
    if (!paused && !document.hidden) draw()
  })
  source.addEventListener('error', () => {
    if (source.readyState === EventSource.CLOSED) setTimeout(listen, ASK_AGAIN_MS)
  })
}

/** Says whether what is shown is of now. A stale page that looks alive is worse than none. */
function sayLink() {
  const link = byId('link')
  const silentS = Math.round((performance.now() - (lastTickMs || openedMs)) / 1_000)
  const lost = silentS > LOST_AFTER_S
  link.dataset.level = lost ? 'bad' : 'good'
  setText(link, lost ? `no news for ${silentS - (silentS % 5)} s: what you see is old` : lastTickMs === 0 ? 'connecting…' : paused ? 'paused' : 'live')
  const wasLost = document.body.classList.contains('lost')
  document.body.classList.toggle('lost', lost)
  if (lost) standing.lost(silentS)
  else if (wasLost) draw()
}

byId('pause').addEventListener('click', ({ currentTarget }) => {
  paused = !paused
  currentTarget.setAttribute('aria-pressed', String(paused))
  sayLink()
  if (!paused) draw()
})
byId('range').addEventListener('change', draw)
byId('group').addEventListener('change', draw)
document.addEventListener('visibilitychange', () => {
  if (!document.hidden && !paused) draw()
})
wireTheme(() => repaintAll())
setInterval(sayLink, 1_000)
listen()
