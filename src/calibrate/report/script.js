"use strict";
// Light and dark; and what lies behind each token of a passage. The page can be read without this.
(() => {
  const root = document.documentElement;
  const button = document.getElementById("theme");
  const isDark = () => root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  button.hidden = false;
  button.addEventListener("click", () => { root.dataset.theme = isDark() ? "light" : "dark"; });
  addEventListener("beforeprint", () => {
    for (const part of document.querySelectorAll("section > details")) {
      if (part.querySelectorAll("table").length < 2) part.open = true;
    }
  });

  const make = (tag, text, css) => {
    const element = document.createElement(tag);
    if (text !== undefined) element.textContent = text;
    if (css) element.className = css;
    return element;
  };
  const percent = (share) => (100 * share).toFixed(share < .01 ? 2 : 1) + "\u202f%";
  const round = (value) => String(+value.toPrecision(4));
  const quoted = (text) => "\u201c" + text + "\u201d";

  function explore(box) {
    const data = JSON.parse(box.querySelector("script").textContent);
    const text = box.querySelector(".text"), panel = box.querySelector(".panel");
    const spans = Array.from(text.children);
    const n = Math.min(spans.length, data.tokens.length);
    let at = -1, pinned = false, chosenLayer = null;

    function clear() {
      for (const span of spans) span.classList.remove("looked-at", "rested-on");
    }
    function showAttention(token, list, buttons) {
      const attention = token.a.find((a) => a[0] === chosenLayer) || token.a[token.a.length - 1];
      for (const [layer, b] of buttons) b.setAttribute("aria-pressed", String(layer === attention[0]));
      list.replaceChildren();
      for (const span of spans) span.classList.remove("rested-on");
      const most = attention[1].length ? attention[1][0][1] : 1;
      for (const [index, weight] of attention[1]) {
        if (index >= n) continue;
        spans[index].classList.add("rested-on");
        spans[index].style.setProperty("--w", String(.2 + .8 * weight / (most || 1)));
      }
      for (const [index, weight] of attention[1].slice(0, 6)) {
        const item = make("li");
        item.style.setProperty("--w", String(weight / (most || 1)));
        const name = make("bdi", quoted(data.tokens[index].t));
        item.append(name, make("span", percent(weight)));
        list.append(item);
      }
    }
    function show(i) {
      if (i < 0 || i >= n || i === at) return;
      at = i;
      clear();
      spans[i].classList.add("looked-at");
      const token = data.tokens[i];
      panel.classList.remove("empty");
      panel.replaceChildren();
      const title = make("h4");
      title.append(make("bdi", quoted(token.t)));
      panel.append(title);
      if (token.d !== undefined) panel.append(make("p", `Decided after ${round(token.d)} of ${data.layers} layers.`));
      if (token.f !== undefined) {
        const said = make("p", token.same === undefined ? "Full depth said " : token.same ? "Full depth said the same: " : "Full depth said otherwise: ");
        said.append(make("bdi", quoted(token.f)), token.p === undefined ? "." : ` (${percent(token.p)} sure).`);
        if (token.same === false) said.className = "finding";
        panel.append(said);
      }
      if (token.s.length || token.h !== undefined) {
        const table = make("table");
        const row = (name, value) => {
          const tr = make("tr");
          tr.append(make("th", name), make("td", round(value), "n"));
          table.append(tr);
        };
        for (const [name, value] of token.s) row(name, value);
        if (token.h !== undefined) row("threshold", token.h);
        panel.append(table);
      }
      if (token.a.length) {
        const layers = make("div", undefined, "layers"), list = make("ol"), buttons = [];
        for (const [layer] of token.a) {
          const b = make("button", `layer ${layer}`);
          b.type = "button";
          b.addEventListener("click", () => { chosenLayer = layer; showAttention(token, list, buttons); });
          buttons.push([layer, b]);
          layers.append(b);
        }
        panel.append(make("p", "Tokens that it looked at most, by attention:"), layers, list);
        showAttention(token, list, buttons);
      }
    }
    const indexOf = (event) => spans.indexOf(event.target.closest(".text > span"));
    text.addEventListener("pointerover", (event) => { if (!pinned) show(indexOf(event)); });
    text.addEventListener("click", (event) => {
      const i = indexOf(event);
      if (i < 0) return;
      pinned = !(pinned && i === at);
      show(i);
    });
    text.addEventListener("keydown", (event) => {
      const to = {ArrowRight: at + 1, ArrowLeft: Math.max(at - 1, 0), Home: 0, End: n - 1}[event.key];
      if (event.key === "Escape") pinned = false;
      if (to === undefined || event.ctrlKey || event.altKey || event.metaKey) return;
      event.preventDefault();
      show(to);
      spans[at].scrollIntoView({block: "nearest"});
    });
    box.classList.remove("still");
    panel.hidden = false;
  }
  for (const box of document.querySelectorAll(".passage")) explore(box);
})();
