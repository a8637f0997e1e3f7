/** Colours of the style sheet for canvases, the size of text, and the reader's choice of theme. */
import { byId, make } from './dom.js'

const probe = make('span', { hidden: true })
const cache = new Map()

/** A custom property as a colour that a canvas understands. */
export function colour(name, opacity = 1) {
  const key = `${name}/${opacity}`
  let found = cache.get(key)
  if (found === undefined) {
    if (!probe.isConnected) document.body.append(probe)
    probe.style.color = `var(--${name})`
    const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g) ?? [128, 128, 128]
    found = `rgb(${r} ${g} ${b} / ${opacity})`
    cache.set(key, found)
  }
  return found
}

let px
/** Pixels of one rem. */
export function fontPx() {
  px ??= Number.parseFloat(getComputedStyle(document.documentElement).fontSize)
  return px
}

/** @param {() => void} changed */
export function wireTheme(changed) {
  const select = byId('theme')
  const apply = (theme) => {
    document.documentElement.dataset.theme = theme
    cache.clear()
    changed()
  }
  select.value = remembered()
  apply(select.value)
  select.addEventListener('change', () => {
    try {
      localStorage.setItem('flyball-theme', select.value)
    } catch {
      // private windows may keep nothing
    }
    apply(select.value)
  })
  const again = () => {
    cache.clear()
    px = undefined
    changed()
  }
  for (const query of ['(prefers-color-scheme: dark)', '(prefers-contrast: more)']) matchMedia(query).addEventListener('change', again)
  let width = innerWidth
  addEventListener('resize', () => {
    if (width === innerWidth) return
    width = innerWidth
    const before = fontPx()
    px = undefined
    if (fontPx() !== before) changed()
  })
}

function remembered() {
  try {
    const theme = localStorage.getItem('flyball-theme')
    return theme === 'light' || theme === 'dark' ? theme : 'auto'
  } catch {
    return 'auto'
  }
}
