/** A line the size of a word, beside a number: where it has been. */
const SVG = 'http://www.w3.org/2000/svg'
const WIDTH = 100
const HEIGHT = 24

export function sparkline() {
  const svg = document.createElementNS(SVG, 'svg')
  for (const [name, value] of Object.entries({ class: 'spark', viewBox: `0 -1 ${WIDTH} ${HEIGHT + 2}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' })) svg.setAttribute(name, value)
  const path = document.createElementNS(SVG, 'path')
  path.setAttribute('vector-effect', 'non-scaling-stroke')
  svg.append(path)
  return svg
}

/** From zero up, so that a steady number is a steady line; `top`: at least this high. Gaps stay gaps. */
export function drawSparkline(svg, values, top = 0) {
  const most = values.reduce((high, value) => (value > high ? value : high), top) || 1
  const step = WIDTH / Math.max(1, values.length - 1)
  let pen = 'M'
  let d = ''
  values.forEach((value, i) => {
    if (value === null) pen = 'M'
    else {
      d += `${pen}${(i * step).toFixed(1)} ${(HEIGHT * (1 - value / most)).toFixed(1)}`
      pen = 'L'
    }
  })
  svg.firstElementChild.setAttribute('d', d)
}
