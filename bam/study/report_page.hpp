// What is constant in a report's page: its words, its style and the script that draws the charts; and the page made of them.
#pragma once
#include "report_html.hpp"

namespace bam::study::report {

inline constexpr const char* page_start = R"(<!doctype html>
<html lang=en><head><meta charset=utf-8>
<meta name=viewport content="width=device-width, initial-scale=1">
<meta name=color-scheme content="light dark">
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'">
)";

// What opens the page and each section.
inline constexpr const char* lead_text =
    R"(<p class=lead>One dense language model, the seed, was copied and trained on one domain a copy; the copies then became
the experts of one mixture (BAM, arXiv:2408.08274), beside BTX and other ways to spend the same data. Each model is measured on held-out text of every
domain: lower is better, and a difference counts only if it repeats over replicates.</p>
)";
inline constexpr const char* nav_text = R"(<nav aria-label=Sections><ol><li><a href='#matrix'>Dense models</a></li><li><a href='#arms'>All arms</a></li>
<li><a href='#differences'>Against BTX</a></li><li><a href='#verdicts'>Verdicts</a></li><li><a href='#loads'>Experts</a></li>
<li><a href='#curves'>Loss curves</a></li><li><a href='#identity'>Identity</a></li><li><a href='#completions'>Completions</a></li>
<li><a href='#choice'>Choices</a></li><li><a href='#trainings'>Trainings</a></li><li><a href='#ledger'>Ledger</a></li></ol></nav>
)";
inline constexpr const char* floor_text = R"(<p class=small>The last row is the entropy of the generated text, per token: on average no model can be
below it. For text of unknown entropy it is unknown.</p>
)";
inline constexpr const char* arms_text = R"(<p>Means over the n replicates, nats of loss on held-out text. <b>Per byte</b> compares models with any tokenizer;
<b>above the floor</b>, for generated text, is what is left over its entropy. Tokens and FLOPs are those of training after the seed, specialists included.
The best of each column is bold, among the dense models and among the rest. An arm that was not run keeps its row.</p>
)";
inline constexpr const char* baselines_text = R"(<p>Nats per byte. The 5-gram is interpolated Kneser-Ney over the training text of the domain alone, with the same tokenizer; zstd packs the whole of
the validation text, which it has not seen.</p>
)";
inline constexpr const char* trainings_text = R"(<p>Every training with its tokens, FLOPs, time and hash. Points of one arm share their trunk, which is counted with each of them. The peak is that of
fp32 FMA from registers, measured when the study was started.</p>
)";
inline constexpr const char* ledger_text = R"(<p>Every run and every held-out set. The standard error is of the nats per token over the held-out text, not
over replicates.</p>
)";
inline constexpr const char* matrix_text =
    R"(<p>Rows are models, columns the domain of the held-out text. A cell has the perplexity, e to the power of the nats per token, and the nats per token
below it. More colour is better within a column; the best of a column is bold and named. Perplexity counts tokens, so columns cannot be compared with
each other.</p>
)";
inline constexpr const char* differences_text =
    R"(<p>Each replicate gives one difference, arm minus BTX, both matched by data, with the same seed model and the same data order; a point is their mean, its
bar the 95% interval of Student's t. <b>Left of 0 is better than BTX.</b> A filled point has an interval that excludes 0, a hollow one has not,
or has no interval because n is below 2. A number with an arrow lies beyond the scale.</p>
<p>The paper's gains of BAM over BTX are 0.083 to 0.107 nats per token (590M parameters, own keys and values, data-matched), 0.016 to 0.027 (shared
keys and values, compute-matched) and 0.017 to 0.027 at 2B. They are per token of a tokenizer of 256,000 words; tokenizers differ, so they stand here
for direction and order of size only.</p>
)";
inline constexpr const char* verdicts_text =
    R"(<p>A claim is shown when the 95% interval of its paired difference excludes 0 in the claimed direction, refuted when it does in the other, else
undecided. "No better" and "no worse" allow 0.002 nats per byte. A claim on every domain needs all of them.</p>
)";
inline constexpr const char* loads_text =
    R"(<p>How the gates share the tokens of each domain among the experts, per layer, in percent, means over the replicates: for attention the mean weight of
the gate, for the FFN the share of tokens that go to the expert. Even use is 100 divided by the number of experts; a row of one dark cell is a
collapsed router.</p>
)";
inline constexpr const char* curves_text =
    R"(<p>Training loss over the tokens of one line of descent: the seed's, then those of one branch, then the mixture's; an arm
without branches gets the tokens of all of them and so reaches further right. A dashed vertical line is a change of phase. Lines of one arm share a
colour, one line a replicate. A click on a name in the legend hides or shows its lines.</p>
)";
inline constexpr const char* identity_text =
    R"(<p>Before training: a mixture of copies of one dense model, mixed softly, must give that model's logits, whatever its routers. The value is the
largest difference, relative; an upcycling with a value of 0.00001 or more is refused.</p>
)";
inline constexpr const char* completions_text =
    R"(<p>What models write after a held-out prompt, checked by a program: does the text parse, and is it right (the assert holds, the sum is correct, the
reference resolves)?</p>
)";

inline constexpr const char* choice_text =
    R"(<p>Each item has a prompt and answers that compete for it; the answer of the greatest likelihood per byte is the model's. Items without rivals of their own compete
with the answers of 9 others. Chance is that of a guess, or that of always saying the commonest label where answers are labels. Bold: the 95% Wilson interval over the items lies above chance.</p>
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
nav ol { display: flex; flex-wrap: wrap; gap: 4px 30px; padding-left: 1.3em; margin: 0; }
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

inline constexpr const char* page_script = R"(
(() => {
  if (!window.Chart) return;
  const data = JSON.parse(document.getElementById('data').textContent);
  const root = document.documentElement, color = name => getComputedStyle(root).getPropertyValue('--' + name).trim();
  const si = v => { let i = 0; while (Math.abs(v) >= 1000 && i < 5) { v /= 1000; i++; } return +v.toPrecision(3) + ['', 'k', 'M', 'G', 'T', 'P'][i]; };
  const signed = (v, n) => (v < 0 ? '\u2212' : '+') + Math.abs(v).toFixed(n);
  let charts = [];

  // Plugins hold their data themselves: Chart.js would wrap it, and call functions, if it stood among the options.
  const bars = (points, solid) => ({ id: 'bars', afterDatasetsDraw(c) {
    const { ctx, chartArea: a, scales: { x } } = c;
    const zero = x.getPixelForValue(0), inside = v => Math.min(Math.max(x.getPixelForValue(v), a.left), a.right);
    ctx.save();
    ctx.strokeStyle = color('soft'); ctx.setLineDash([4, 3]);
    ctx.beginPath(); ctx.moveTo(zero, a.top); ctx.lineTo(zero, a.bottom); ctx.stroke(); ctx.setLineDash([]);
    ctx.strokeStyle = ctx.fillStyle = color('c0'); ctx.lineWidth = 2; ctx.font = '12px system-ui, sans-serif'; ctx.textBaseline = 'middle';
    points.forEach((p, i) => {
      const y = c.scales.y.getPixelForValue(i), at = x.getPixelForValue(p.mean);
      if (p.low !== null) {
        ctx.beginPath(); ctx.moveTo(inside(p.low), y); ctx.lineTo(inside(p.high), y);
        for (const v of [p.low, p.high]) if (inside(v) === x.getPixelForValue(v)) { ctx.moveTo(inside(v), y - 4); ctx.lineTo(inside(v), y + 4); }
        ctx.stroke();
      }
      if (at < a.left || at > a.right) {
        const right = at > a.right;
        ctx.textAlign = right ? 'right' : 'left';
        const label = right ? signed(p.mean, 3) + ' \u2192' : '\u2190 ' + signed(p.mean, 3), w = ctx.measureText(label).width;
        ctx.fillStyle = color('page'); ctx.fillRect(right ? a.right - w - 4 : a.left, y - 8, w + 4, 16);
        ctx.fillStyle = color('ink'); ctx.fillText(label, right ? a.right - 1 : a.left + 1, y);
      } else {
        ctx.fillStyle = color(solid(p) ? 'c0' : 'page');
        ctx.beginPath(); ctx.arc(at, y, 5, 0, 7); ctx.fill(); ctx.stroke();
      }
    });
    ctx.restore();
  } });

  const phases = marks => ({ id: 'phases', beforeDatasetsDraw(c) {
    const { ctx, chartArea: a, scales: { x } } = c;
    ctx.save(); ctx.strokeStyle = ctx.fillStyle = color('soft'); ctx.font = '12px system-ui, sans-serif'; ctx.textBaseline = 'top';
    for (const p of marks) {
      const at = x.getPixelForValue(p.at);
      if (at < a.left || at > a.right) continue;
      ctx.setLineDash([5, 4]); ctx.beginPath(); ctx.moveTo(at, a.top); ctx.lineTo(at, a.bottom); ctx.stroke(); ctx.setLineDash([]);
      ctx.textAlign = at > a.right - 60 ? 'right' : 'left'; ctx.fillText(p.label, at + (at > a.right - 60 ? -5 : 5), a.top + 4);
    }
    ctx.restore();
  } });

  function intervals(panel) {
    const canvas = document.getElementById(panel.id), s = data.differences.scale, solid = p => p.low !== null && (p.low > 0 || p.high < 0);
    const digits = Math.max(0, Math.ceil(-Math.log10(s / 2) - 1e-9));
    canvas.parentNode.style.height = 96 + 23 * panel.points.length + 'px';
    charts.push(new Chart(canvas, { type: 'scatter', plugins: [bars(panel.points, solid)],
      data: { datasets: [{ data: panel.points.map((p, i) => ({ x: p.mean, y: i })), pointRadius: 6, pointHoverRadius: 6,
        pointBackgroundColor: 'transparent', pointBorderColor: 'transparent' }] },
      options: { animation: false, maintainAspectRatio: false, layout: { padding: { right: 24 } },
        scales: {
          x: { min: -s, max: s, grid: { color: color('line') },
            ticks: { stepSize: s / 2, maxRotation: 0, callback: v => Math.abs(v) < s / 9 ? '0' : signed(v, digits) },
            title: { display: true, text: 'arm minus BTX, nats per byte' } },
          y: { min: -1, max: panel.points.length, reverse: true, grid: { display: false },
            ticks: { stepSize: 1, autoSkip: false, callback: v => panel.points[v] ? panel.points[v].arm : '' } } },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: t => { const p = panel.points[t.dataIndex];
          const bar = p.low === null ? '' : ' [' + signed(p.low, 4) + ', ' + signed(p.high, 4) + ']';
          return p.arm + ' ' + signed(p.mean, 4) + bar + ', n = ' + p.n; } } } } } }));
  }

  function curves(id, from, to) {
    const canvas = document.getElementById(id), seen = new Set();
    if (!canvas) return;
    const parts = data.curves.series.map(s => ({ ...s, points: s.points.filter(p => p.x >= from && p.x <= to) })).filter(s => s.points.length > 1);
    const sets = parts.map(s => {
      const first = !seen.has(s.label), stroke = color('c' + s.style % 7);
      seen.add(s.label);
      return { label: s.label, first, data: s.points, hidden: s.hidden, borderColor: stroke, backgroundColor: stroke,
        borderWidth: s.style < 2 ? 2.6 : 1.5, pointRadius: 0, pointHitRadius: 6,
        borderDash: [[], [7, 4], [2, 3]][Math.floor(s.style / 7) % 3] };
    });
    charts.push(new Chart(canvas, { type: 'line', plugins: [phases(data.curves.phases)], data: { datasets: sets },
      options: { animation: false, maintainAspectRatio: false, parsing: false, normalized: true, interaction: { mode: 'nearest', intersect: false },
        scales: {
          x: { type: 'linear', min: from, max: to === Infinity ? undefined : to, grid: { color: color('line') },
            ticks: { maxRotation: 0, maxTicksLimit: 8, callback: si },
            title: { display: true, text: data.curves.x } },
          y: { grid: { color: color('line') }, title: { display: true, text: data.curves.y } } },
        plugins: { legend: { position: 'bottom', labels: { boxWidth: 26, boxHeight: 0, padding: 8, filter: (item, d) => d.datasets[item.datasetIndex].first },
            onClick: (e, item, legend) => { const c = legend.chart, on = c.isDatasetVisible(item.datasetIndex);
              c.data.datasets.forEach((d, i) => { if (d.label === item.text) c.setDatasetVisibility(i, !on); }); c.update(); } },
          tooltip: { callbacks: { title: t => si(t[0].parsed.x) + ' tokens', label: t => t.dataset.label + ' ' + t.parsed.y.toFixed(4) } } } } }));
  }

  function draw() {
    charts.forEach(c => c.destroy());
    charts = [];
    Chart.defaults.color = color('ink'); Chart.defaults.borderColor = color('line'); Chart.defaults.font.family = 'system-ui, sans-serif';
    if (data.differences) data.differences.panels.forEach(intervals);
    if (!data.curves) return;
    const mix = data.curves.phases.find(p => p.label === 'mix');
    curves('curves_all', 0, Infinity);
    if (mix) curves('curves_mix', mix.at, data.curves.end);
  }
  draw();
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', draw);
  // Paper is white, and has no folded parts.
  const folded = () => document.querySelectorAll('details:not([open])'), shut = () => document.querySelectorAll('details[data-shut]');
  addEventListener('beforeprint', () => { root.dataset.print = ''; folded().forEach(d => { d.open = true; d.dataset.shut = ''; }); draw(); });
  addEventListener('afterprint', () => { delete root.dataset.print; shut().forEach(d => { d.open = false; delete d.dataset.shut; }); draw(); });
})();
)";

// main: the page's HTML; charts: what the script draws, by name. chart_js is the text of Chart.js 3.9.1 (chart.min.js of libjs-chart.js); without it tables stand alone.
// Error(usage): a chart_js that would end its own element.
inline std::string page(std::string_view title, std::string_view main, const Json& charts, std::string_view chart_js) {
  if (chart_js.find("</script") != chart_js.npos)
    fail(ErrorKind::usage, "report.chart", "report: the text of Chart.js has </script in it, so it cannot stand inside a page; take chart.min.js of 3.9.1");
  std::string json;
  for (char c : io::dump(charts)) c == '<' ? json += "\\u003c" : json += c;
  return str(page_start, "<title>", esc(title), "</title>\n<style>", page_style, "</style></head><body><main>\n", main, "</main>\n<script type='application/json' id=data>", json,
             "</script>\n<script>", chart_js, "</script>\n<script>", page_script, "</script>\n</body></html>\n");
}
// A chart that the script draws into the canvas of that id.
inline std::string figure(std::string_view title, std::string_view id, std::string_view what, std::string_view kind, bool draws) {
  return str("<figure><figcaption>", esc(title), "</figcaption>",
             draws ? str("<div class='chart ", kind, "'><canvas id=", id, " role=img aria-label=\"", esc(what), "; the numbers are in the table\"></canvas></div>")
                   : missing("the chart, because Chart.js was not found; the numbers are in the table."),
             "</figure>\n");
}

}  // namespace bam::study::report
