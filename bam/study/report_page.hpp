// What is constant in the report of a BAM study: its words, and the charts of it and of training runs.
#pragma once

namespace bam::study::report {


// What opens the page and each section.
inline constexpr const char* lead_text =
    R"(<p class=lead>One dense language model, the seed, was copied and trained on one domain a copy; the copies then became
the experts of one mixture (BAM, arXiv:2408.08274), beside BTX and other ways to spend the same data. Each model is measured on held-out text of every
domain: lower is better, and a difference counts only if it repeats over replicates.</p>
)";
// `make demo` leaves the page in build/demo of the project.
inline constexpr const char* long_studies_text = R"(<a href='../../docs/reproduction.md'>docs/reproduction.md</a> has claims, replicates and intervals,
<a href='../../bench/studies'>bench/studies</a> the files that run them; the links lead there from <code>build/demo</code>, where <code>make demo</code> leaves this page)";
inline constexpr const char* nav_text = R"(<nav aria-label=Sections><ol><li><a href='#matrix'>Dense models</a></li><li><a href='#arms'>All arms</a></li>
<li><a href='#differences'>Against BTX</a></li><li><a href='#verdicts'>Verdicts</a></li><li><a href='#loads'>Experts</a></li>
<li><a href='#curves'>Loss curves</a></li><li><a href='#identity'>Identity</a></li><li><a href='#completions'>Completions</a></li>
<li><a href='#choice'>Choices</a></li><li><a href='#trainings'>Trainings</a></li><li><a href='#ledger'>Ledger</a></li></ol></nav>
)";
inline constexpr const char* floor_text = R"(<p class=small>The last row is the entropy of the generated text, per token: on average no model can be
below it. For text of unknown entropy it is unknown.</p>
)";
inline constexpr const char* arms_text = R"(<p>Means over the n replicates, nats of loss on held-out text. <b>Per byte</b> compares models with any tokenizer;
<b>above the floor</b>, for generated text, is what is left over its entropy. Tokens and FLOPs are those of training, phase by phase: the seed that all arms of a replicate share, the
specialists together (a specialist's own, in its row), and what comes after them; an arm that is not made of specialists gets their tokens in its last phase.
The best of each column is bold, among the dense models and among the rest. An arm that was not run keeps its row.</p>
)";
inline constexpr const char* baselines_text = R"(<p>Nats per byte. The 5-gram is interpolated Kneser-Ney over the training text of the domain alone, with the same tokenizer; zstd packs the whole of
the validation text, which it has not seen. In brackets the excess above the entropy of the text, where that is known. The last rows have by how much the 5-gram is worse than the seed
trained on, in percent of the latter's nats per byte.</p>
)";
inline constexpr const char* trainings_text = R"(<p>Every training with its tokens, FLOPs, time and hash. Points of one arm share their trunk, which is counted with each of them. The peak is that of
fp32 FMA from registers, measured when the study was started.</p>
)";
inline constexpr const char* ledger_text = R"(<p>Every run and every held-out set. The standard error is of the nats per token over the held-out text, not
over replicates.</p>
)";
inline constexpr const char* matrix_text =
    R"(<p>Rows are models, columns the domain of the held-out text. A cell has the perplexity, e to the power of the nats per token, and the nats per token
below it, for generated text with the excess above its entropy in brackets. More colour is better within a column; the best of a column is bold and named. Perplexity counts tokens, so columns cannot be compared with
each other.</p>
)";
inline constexpr const char* differences_text =
    R"(<p>Each replicate gives one difference, arm minus BTX, from the same seed model; a point is their mean, its bar the 95% interval of Student's t.
<b>Data-matched</b>, both have read as many tokens of each domain of the same corpus: mixtures of the specialists the same documents in the same order, arms without
specialists others of them. <b>Compute-matched</b>, the arm has had the training FLOPs of BTX. <b>Left of 0 is better than BTX.</b> A filled point has an interval that excludes 0, a hollow one has not,
or has no interval because n is below 2. A number with an arrow lies beyond the scale.</p>
<p>The paper's gains of BAM over BTX are 0.083 to 0.107 nats per token (590M parameters, own keys and values, data-matched), 0.016 to 0.027 (shared
keys and values, compute-matched) and 0.017 to 0.027 at 2B. They are per token of a tokenizer of 256,000 words; tokenizers differ, so they stand here
for direction and order of size only.</p>
)";
inline constexpr const char* verdicts_text =
    R"(<p>A claim is shown when the 95% interval of its paired difference excludes 0 in the claimed direction, refuted when it does in the other, else
undecided. "No better" and "no worse" allow 0.002 nats per byte. A claim on every domain needs all of them. Best at home stands with the difference to the rival of the least
loss. General text has a verdict of its own: a tenth of what a specialist reads is general text, so that it need not forget it.</p>
)";
inline constexpr const char* loads_text =
    R"(<p>How the gates share the tokens of each domain among the experts, per layer, in percent, means over the replicates: for attention the mean weight of
the gate, for the FFN the share of tokens that go to the expert. Even use is 100 divided by the number of experts; a row of one dark cell is a
collapsed router.</p>
)";
inline constexpr const char* curves_text =
    R"(<p>Training loss over the tokens of one line of descent: the seed's, then those of one branch, then the mixture's; an arm
without branches gets the tokens of all of them and so reaches further right. A dashed vertical line is a change of phase. Lines of one arm share a
colour, one line a replicate. A click on a name in the legend hides or shows its lines. Dotted horizontal lines, for generated text, are the entropies of the domains' held-out
text per token: on average no model can be below. A phase reads a mixture of domains (the seed 70% general text and 10% of each other, a specialist 90% its own and 10% general,
a mixture of specialists 25% of each), so its own floor lies between them.</p>
)";
inline constexpr const char* identity_text =
    R"(<p>Before training: a mixture of copies of one dense model, mixed softly, must give that model's logits, whatever its routers. The value is the
largest difference, relative; an upcycling with a value of 0.00001 or more is refused.</p>
)";
inline constexpr const char* completions_text =
    R"(<p>What models write after a held-out prompt, checked by a program: does the text parse, and is it right (the assert holds, the sum is correct, the
reference resolves)? Below the counts the share that is right and its 95% Wilson interval; few prompts tell little.</p>
)";

inline constexpr const char* choice_text =
    R"(<p>Each item has a prompt and answers that compete for it; the answer of the greatest likelihood per byte is the model's. Items without rivals of their own compete
with the answers of 9 others. Chance is that of a guess, or that of always saying the commonest label where answers are labels. Bold: the 95% Wilson interval over the items lies above chance.</p>
)";


// The charts of the study and of training runs (report_frame.hpp).
inline constexpr const char* study_charts = R"(
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
    const right = to === Infinity ? Math.max(...parts.flatMap(s => s.points.map(p => p.x))) : to;
    const floors = (data.curves.floors ?? []).map(f => ({ label: f.label, first: true, data: [{ x: from, y: f.y }, { x: right, y: f.y }], borderColor: color('c' + f.style), backgroundColor: color('c' + f.style),
      borderWidth: 1.5, pointRadius: 0, pointHitRadius: 6, borderDash: [2, 4] }));
    charts.push(new Chart(canvas, { type: 'line', plugins: [phases(data.curves.phases)], data: { datasets: [...floors, ...sets] },
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

  function drawAll() {
    if (data.differences) data.differences.panels.forEach(intervals);
    if (!data.curves) return;
    const mix = data.curves.phases.find(p => p.label === 'mix');
    curves('curves_all', 0, Infinity);
    if (mix) curves('curves_mix', mix.at, data.curves.end);
  }
)";

}  // namespace bam::study::report
