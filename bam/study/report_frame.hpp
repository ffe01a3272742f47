// The frame of every report: one page with its style, and the script around its charts; without a network.
#pragma once
#include <string>
#include <string_view>

#include "report_html.hpp"

namespace bam::study::report {

inline constexpr const char* page_start = R"(<!doctype html>
<html lang=en><head><meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta name=color-scheme content="light dark">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
)";

inline constexpr const char* page_style = R"(
:root { --page:#fff; --ink:#1a1c1f; --soft:#5a6068; --line:#d5d9de; --box:#f4f6f8; --heat:0,114,178; --good:#00664a; --bad:#a52a00; --open:#5a6068;
  --c0:#0072b2; --c1:#d55e00; --c2:#00835f; --c3:#b8457f; --c4:#8a6a00; --c5:#3d6fd6; --c6:#5b6168; }
@media (prefers-color-scheme: dark) { :root:not([data-print]) { --page:#15181b; --ink:#e8eaed; --soft:#a5acb5; --line:#3a4047; --box:#1e2327; --heat:64,156,226;
  --good:#5fd6ab; --bad:#ff9a6e; --open:#a5acb5; --c0:#5ab0f0; --c1:#ff9150; --c2:#3fcfa0; --c3:#f093c4; --c4:#dcbc3c; --c5:#a3b8ff; --c6:#b8bec6; } }
* { box-sizing: border-box; }
html { background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; -webkit-text-size-adjust: 100%; }
body { margin: 0; }
main { max-width: 1360px; margin: 0 auto; padding: 24px clamp(14px, 3vw, 40px) 60px; }
h1 { font-size: clamp(1.5rem, 1.1rem + 1.6vw, 2.1rem); line-height: 1.2; margin: 0 0 12px; }
h2 { font-size: 1.3rem; margin: 44px 0 8px; padding-top: 14px; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 20px 0 6px; }
h4 { font-size: .88rem; margin: 0 0 4px; }
p { max-width: 85ch; margin: 8px 0 12px; }
.lead { font-size: 1.06rem; }
small, .small { font-size: .82em; color: var(--soft); }
a { color: var(--c0); }
code, pre { font: .84rem/1.45 ui-monospace, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 18px 0; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
nav ol { display: flex; flex-wrap: wrap; gap: 4px 38px; padding-left: 1.3em; margin: 0; }
.note, .missing { border-left: 4px solid var(--c4); background: var(--box); padding: 8px 12px; }
.missing { border-color: var(--c6); }
.tiles { display: flex; flex-wrap: wrap; gap: 12px; }
.tiles div { flex: 1 1 220px; background: var(--box); border: 1px solid var(--line); border-radius: 8px; padding: 10px 14px; }
.tiles span, .tiles small { display: block; color: var(--soft); font-size: .85rem; }
.tiles b { font-size: 1.5rem; font-variant-numeric: tabular-nums; }
.scroll { overflow-x: auto; max-width: 100%; width: fit-content; border: 1px solid var(--line); border-radius: 6px; margin: 10px 0; }
.scroll:focus-visible { outline: 2px solid var(--c0); }
table { border-collapse: separate; border-spacing: 0; font-size: .88rem; font-variant-numeric: tabular-nums; }
th, td { padding: 4px 10px; text-align: right; border-bottom: 1px solid var(--line); white-space: nowrap; }
tbody:last-child tr:last-child > * { border-bottom: 0; }
thead th { background: var(--box); font-weight: 600; vertical-align: bottom; }
tbody + tbody tr:first-child > * { border-top: 2px solid var(--soft); }
th:first-child { text-align: left; position: sticky; left: 0; background: var(--page); z-index: 1; }
thead th:first-child { background: var(--box); }
thead tr + tr th:first-child { position: static; text-align: right; }
tbody th { font-weight: 500; }
th small, td small { display: block; font-weight: 400; }
.wide td, .wide th { padding: 4px 6px; font-size: .8rem; }
.claims tbody th { white-space: normal; min-width: 180px; max-width: 520px; }
thead th[scope=colgroup] { text-align: center; }
.edge { border-left: 1px solid var(--line); }
.words { text-align: left; }
.heat { background: rgba(var(--heat), var(--a)); -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.heat small { color: inherit; }
.matrix td { min-width: 104px; font-size: 1rem; }
.floor > * { border-top: 2px solid var(--soft); }
.load td, .load th { padding: 2px 7px; font-size: .78rem; }
.load td { min-width: 40px; }
.ledger { max-height: 460px; overflow-y: auto; }
.ledger thead th { position: sticky; top: 0; z-index: 2; }
.wide td.empty { text-align: left; }
.empty, .none { color: var(--soft); }
td.empty { font-style: italic; background: repeating-linear-gradient(135deg, transparent 0 6px, var(--box) 6px 12px); text-align: center; }
.good { color: var(--good); font-weight: 600; } .bad { color: var(--bad); font-weight: 600; } .open { color: var(--open); font-weight: 600; }
.grid { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 380px), 1fr)); gap: 16px; }
figure { margin: 12px 0; min-width: 0; }
figcaption { font-weight: 600; }
.chart { position: relative; height: 430px; }
.tall { height: 480px; }
details { margin: 8px 0; }
summary { cursor: pointer; font-weight: 600; padding: 3px 0; }
article { margin: 22px 0; }
.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 225px), 1fr)); gap: 10px; }
.cards > div { border: 1px solid var(--line); border-radius: 6px; padding: 8px 10px; min-width: 0; }
.cards .prompt { background: var(--box); }
pre { margin: 0; white-space: pre-wrap; overflow-wrap: anywhere; max-height: 300px; overflow-y: auto; }
@media (max-width: 600px) { dl { grid-template-columns: 1fr; } dt { margin-top: 6px; } .tall { height: 560px; } .matrix td { min-width: 84px; } }
@media print { main { max-width: none; padding: 0; font-size: 10pt; } nav { display: none; }
  .scroll, .ledger, pre { overflow: visible; max-height: none; } table { font-size: 7.5pt; } th, td { padding: 2px 4px; }
  .wide td, .wide th, .load td, .load th { padding: 2px 3px; font-size: 6.3pt; } .load td { min-width: 0; }
  th:first-child, .ledger thead th { position: static; } tr, figure, .cards > div { break-inside: avoid; } h2 { break-after: avoid; } }
)";

// Around the charts of a page, which are a function drawAll(): it draws what is in `data` and adds each chart to `charts`. Drawn again for
// another colour scheme and for paper, which is white and has no folded parts.
inline constexpr const char* charts_start = R"(
(() => {
  if (!window.Chart) return;
  const data = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement, color = name => getComputedStyle(root).getPropertyValue('--' + name).trim();
  const si = v => { let i = 0; while (Math.abs(v) >= 1000 && i < 5) { v /= 1000; i++; } return +v.toPrecision(3) + ['', 'k', 'M', 'G', 'T', 'P'][i]; };
  const signed = (v, n) => (v < 0 ? '\u2212' : '+') + Math.abs(v).toFixed(n);
  let charts = [];
)";
inline constexpr const char* charts_end = R"(
  function draw() {
    charts.forEach(c => c.destroy());
    charts = [];
    Chart.defaults.color = color('ink'); Chart.defaults.borderColor = color('line'); Chart.defaults.font.family = 'system-ui, sans-serif';
    drawAll();
  }
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  const folded = () => document.querySelectorAll('details:not([open])'), shut = () => document.querySelectorAll('details[data-shut]');
  addEventListener('beforeprint', () => { root.dataset.print = ''; folded().forEach(d => { d.open = true; d.dataset.shut = ''; }); draw(); });
  addEventListener('afterprint', () => { delete root.dataset.print; shut().forEach(d => { d.open = false; delete d.dataset.shut; }); draw(); });
})();
)";

// main: the page's HTML; data: what its charts are drawn from, by name; charts: the script that draws them; style: rules beyond those of all pages. chart_js is the text of Chart.js 3.9.1 (chart.min.js of libjs-chart.js); without it tables stand alone.
// Error(usage): a chart_js that would end its own element.
inline std::string page(std::string_view title, std::string_view main, const Json& data, std::string_view charts, std::string_view chart_js, std::string_view style = "") {
  if (chart_js.find("</script") != chart_js.npos)
    fail(ErrorKind::usage, "report.chart", "report: the text of Chart.js has </script in it, so it cannot stand inside a page; take chart.min.js of 3.9.1");
  std::string json;
  for (char c : io::dump(data)) c == '<' ? json += "\\u003c" : json += c;
  return str(page_start, "<title>", esc(title), "</title>\n<style>", page_style, style, "</style></head><body><main>\n", main, "</main>\n<script type='application/json' id=data>", json,
             "</script>\n<script>", chart_js, "</script>\n<script>", charts_start, charts, charts_end, "</script>\n</body></html>\n");
}
// A chart that the script draws into the canvas of that id.
inline std::string figure(std::string_view title, std::string_view id, std::string_view what, std::string_view kind, bool draws) {
  return str("<figure><figcaption>", esc(title), "</figcaption>",
             draws ? str("<div class='chart ", kind, "'><canvas id=", id, " role=img aria-label=\"", esc(what), "; the numbers are in the table\"></canvas></div>")
                   : missing("the chart, because Chart.js was not found; the numbers are in the table."),
             "</figure>\n");
}

}  // namespace bam::study::report
