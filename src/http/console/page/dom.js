/** Small helpers over the DOM. Text always goes in as text: names come from configurations and clients. */

/** @param {string} id */
export const byId = (id) => document.getElementById(id)

/**
 * Makes an element. `properties`: `class`, `text`, `on…` listeners, attributes; undefined ones are left out.
 * @param {string} tag
 * @param {Record<string, unknown>} [properties]
 * @param {(Node | string)[]} children
 */
export function make(tag, properties = {}, ...children) {
  const element = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined || value === null || value === false) continue
    if (name === 'text') element.textContent = String(value)
    else if (name === 'class') element.className = String(value)
    else if (name.startsWith('on')) element.addEventListener(name.slice(2), value)
    else element.setAttribute(name, value === true ? '' : String(value))
  }
  element.append(...children)
  return element
}

/** Sets text only where it differs: an unchanged node keeps selection and says nothing to a screen reader. */
export function setText(node, text) {
  if (node.textContent !== text) node.textContent = text
}

/**
 * Brings a list's children in line with `items`, by key: what stays keeps its element, and with it focus.
 * @template T
 * @param {Element} parent
 * @param {readonly T[]} items
 * @param {(item: T) => string} keyOf
 * @param {(item: T) => Element} create
 * @param {(element: Element, item: T) => void} update
 */
export function reconcile(parent, items, keyOf, create, update) {
  const old = new Map([...parent.children].map((child) => [child.dataset.key, child]))
  let place = parent.firstElementChild
  for (const item of items) {
    const key = keyOf(item)
    let element = old.get(key)
    if (element) old.delete(key)
    else {
      element = create(item)
      element.dataset.key = key
    }
    update(element, item)
    if (element === place) place = place.nextElementSibling
    else parent.insertBefore(element, place)
  }
  for (const element of old.values()) element.remove()
}

/** Opens a dialog as a modal; Escape and its close buttons shut it. */
export function wireDialog(dialog) {
  for (const button of dialog.querySelectorAll('[data-close]')) button.addEventListener('click', () => dialog.close())
  dialog.addEventListener('click', (event) => {
    if (event.target === dialog) dialog.close()
  })
  return dialog
}
