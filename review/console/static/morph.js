// Making what is shown what it should be, node by node: what stays the same is left alone, with its focus and its place
// of scrolling. Listeners are not carried over: this is for text, links and drawings.

/** Give `parent` these children. */
export function settle(parent, ...wanted) {
  wanted = wanted.flat().filter((child) => child !== null && child !== undefined && child !== false);
  wanted = wanted.map((child) => (typeof child === "string" ? document.createTextNode(child) : child));
  const had = [...parent.childNodes];
  wanted.forEach((node, index) => {
    if (index >= had.length) parent.append(node);
    else if (alike(had[index], node)) become(had[index], node);
    else had[index].replaceWith(node);
  });
  for (const left of had.slice(wanted.length)) left.remove();
}

const alike = (one, other) => one.nodeType === other.nodeType && one.nodeName === other.nodeName;

function become(old, node) {
  if (old.nodeType !== Node.ELEMENT_NODE) {
    if (old.data !== node.data) old.data = node.data;
    return;
  }
  for (const { name } of [...old.attributes])
    if (!node.hasAttribute(name) && !(name === "open" && old.nodeName === "DETAILS")) old.removeAttribute(name);
  for (const { name, value } of node.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  settle(old, ...node.childNodes);
}
