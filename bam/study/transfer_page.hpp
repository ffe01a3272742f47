// What is constant in the transfer report's page: its words, its style beyond that of report_frame.hpp, and its charts.
#pragma once

namespace bam::study::transfer {

inline constexpr const char* lead_text =
    R"(<p class=lead>Base models that have read text of several languages are fine-tuned on a fixed set of examples in one pivot language, the part of English, plus k
examples in each of a few <b>seen</b> languages (arXiv:2504.16677). They are tested on these and on <b>unseen</b> languages, of which fine-tuning had none: what arrives
there was transferred. )";
inline constexpr const char* lead_generated_text = R"(The languages are generated: one meaning, many lexicons, scripts and word orders, and every answer is checked by a program.</p>
)";
inline constexpr const char* lead_files_text = R"(Texts, examples and tests are those of real languages, from files.</p>
)";
inline constexpr const char* nav_text = R"(<nav aria-label=Sections><ol><li><a href='#directions'>Directions</a></li><li><a href='#curves'>Curves over k</a></li>
<li><a href='#measures'>Gain, gap, plateau</a></li><li><a href='#interference'>Interference</a></li><li><a href='#languages'>Languages</a></li>
<li><a href='#variance'>What explains it</a></li><li><a href='#controls'>Controls</a></li><li><a href='#groups'>Groups and bases</a></li>
<li><a href='#samples'>Answers</a></li><li><a href='#ledger'>Ledger</a></li></ol></nav>
)";
inline constexpr const char* scores_text = R"(<p><b>exact</b>: the share of greedily written answers that keep all the rules of the item; chance is what the best constant answer to each template
would get. <b>rank</b>: the share of items whose right answer the model finds likelier, per token, than its rivals, which are right answers to other items of the same
template (of a sum, to the same story with other numbers: who reads the numbers ranks it first, who computes is seen by exact). Without a look at the prompt the right answer is first as often as each rival. <b>likelihood</b>: the geometric mean of the probabilities of the right answer's tokens; chance is that of
the rivals, item by item.
It measures models too small to write a whole answer right. <b>nll</b>, nats per token of the right answer, stands beside them in runs.csv. A cell, one task in one language by one
model, that cannot be told from chance is marked <b>?</b> and enters no measure below: of exact and rank, chance alone gives as many right answers in more than 2.5% of trials (exact binomial test); of the others, the 95% interval
of the difference reaches down to 0. Measures judge a cell once, its replicates together, with n the items, which replicates share.</p>
)";
inline constexpr const char* scores_files_text = R"(<p>Of files, rivals are the answers to other items of the test in the same language, or the item's own choices, and the chance of exact is the most frequent answer's share.
<b>chrf</b> and <b>rouge</b>, from 0 to 1, hold what is written against the right answer; their chance is the same text against the answer to another item.</p>
)";
inline constexpr const char* examples_text = R"(<p>Training examples of each task in each language, below them the test items that are used. Examples that validation or test hold too, by id or prompt, are left out.</p>
)";
inline constexpr const char* further_tests_text =
    R"(<p>Taken by the same models; no measure or direction counts them. Below each score stand chance, the 95% interval and n, the items or what else a mean is over; <b>?</b> marks what cannot be told from it, as above. Nll per byte, of text
without a prompt, in nats, has no chance. Likelihoods and nats per token are in tests.csv.</p>
)";
inline constexpr const char* directions_text =
    R"(<p>The paper's findings as claims about this study's primary scores. <b>Shown</b>: the 95% interval over replicates (Student's t; of variance shares by a bootstrap's standard error) lies on the claimed
side. <b>Not shown</b>: it lies on the other. <b>Undecided</b>: it has both. <b>Not testable here</b>: the scores that the claim needs are not there or cannot be told from chance.</p>
)";
inline constexpr const char* likelihood_text =
    R"(<p class=note><b>These are likelihoods.</b> Models of this size may find a right answer likelier, for its words and its form, without being able to give it, and fine-tuning on other languages makes
the words of an unseen one less likely, right answers and rivals alike: see rank and exact in the table of all scores below before reading a direction as one about solving tasks.</p>
)";
inline constexpr const char* curves_text =
    R"(<p>The primary score over k, the number of examples in each seen language. Solid: seen languages; dashed: unseen; dotted: the pivot. The band is the 95% interval over the items of
a point (the same in all its languages and replicates, so each counts once); a hollow point cannot be told from chance; of exact and rank, chance is the horizontal dashed line, one for each split where they differ. The first k is 0: the pivot's examples alone.</p>
)";
inline constexpr const char* measures_text =
    R"(<p>One value a replicate, their mean and 95% t-interval; values that are all equal, as a grid of items or of k makes them, have none. Gain: (y(k) &minus; y(0)) / y(0), mean over languages. Gap: seen less unseen. Tracking: Pearson's r over k of the seen and unseen means; mean and
interval are those of Fisher's z. Data to plateau: the least k whose unseen score is within 1% of the best, 0 counting as the least k above it; geometric mean, interval by logarithms; one at the largest k may lie beyond it. Oscillation: mean absolute second difference over k. A dash has no cells that can be told from chance.</p>
)";
inline constexpr const char* interference_text =
    R"(<p>Multi-task less single-task score at the same k; left of 0 the other tasks' examples hurt. <b>Equal task data</b>: the multi-task model has seen as many examples of the task, and those
of the other tasks besides. <b>Equal total data</b>: it has seen as many examples in all. Each bar has its 95% t-interval over replicates as a line; it is filled where that excludes 0.</p>
)";
inline constexpr const char* languages_text =
    R"(<p>The primary score in each language, mean over replicates; below it the 95% interval over the items, which replicates share, and n, their number. More colour is better within a table; <b>?</b>
marks what cannot be told from chance, a mean of likelihoods or the like in half of the replicates or more.</p>
)";
inline constexpr const char* matrix_text =
    R"(<p>T[a, b]: trained on the pivot and k examples in a (rows), tested on b (columns), the gain over the pivot alone as a share of the gain that b's own examples bring. Below it the gain itself, each with
its 95% t-interval over n replicates. Unseen languages have no own run, so only the gain stands there.</p>
)";
inline constexpr const char* variance_text =
    R"(<p>Shares of the variance of the cells over the complete part of the grid: main effects, their two-way interactions, and all higher ones; the replicates' own spread is taken off each (an effect of nothing can then come out below 0; it has no row), and intervals are Student's t by the standard error of a bootstrap over replicates. No single
variable explains transfer if the largest main effect in y(k) - y(0), unseen languages, stays below one half. The scores themselves differ mostly by how hard a task is. A cell is one language; one that
cannot be told from chance, its replicates together, is left out, and the complete part has the same languages everywhere; y(0) may be at chance, as nothing is divided by it. Groups of languages
were trained on at the largest k alone, single-task, so they have a grid of their own, without the group of all seen languages, which has more examples.</p>
)";
inline constexpr const char* controls_text =
    R"(<p><b>Shuffled completions</b>: the largest k with each prompt's completion exchanged for that of another prompt of its template; whatever a score shows above chance must then be gone. It passes where the score cannot be told from chance. Where the run has recorded each item,
the interval comes from the spread of items over all languages (n marked *); else each item counts once, as if its languages went together, which is a weak test: an excess
as small as the interval allows may be there, and a cell that is above chance by no more than that should not be trusted.
<b>English alone, once more</b>: a further run without any seen language must give every score of y(0), to the bit.</p>
)";
inline constexpr const char* groups_text =
    R"(<p>Single-task at the largest k, with equally many examples in all: languages of the Latin script, of other scripts, and of both, tested on the unseen languages of either kind,
in each replicate on those that all groups tell from chance.</p>
)";
inline constexpr const char* bases_text =
    R"(<p>Bases that are mixtures, upcycled from branches over groups of languages, less dense ones: of the same shape, and of about as many active parameters (those a token is computed with). A base that is "dense" has read less
text than a mixture; "dense-continued" has read as much of each language. Over the unseen languages at the largest k,
in each replicate over those that both tell from chance.</p>
)";
inline constexpr const char* samples_text =
    R"(<p>What the first replicate's models wrote for a few test items, with the check of a program.</p>
)";
inline constexpr const char* ledger_text = R"(<p>Every training with its tokens, FLOPs, time and hash. The peak is that of fp32 FMA from registers, measured when the study was started.</p>
)";

inline constexpr const char* transfer_style = R"(
.bar { position: relative; height: 14px; min-width: 220px; }
.bar i { position: absolute; left: 0; top: 2px; bottom: 2px; background: var(--c0); border-radius: 2px; }
.bar u { position: absolute; top: 6px; height: 2px; background: var(--ink); }
td.long { white-space: normal; min-width: 260px; max-width: 620px; overflow-wrap: anywhere; }
.chart.flat { height: 300px; }
select { font: inherit; color: inherit; background: var(--box); border: 1px solid var(--line); border-radius: 6px; padding: 4px 8px; }
article[hidden] { display: none; }
)";

// Shows the answers of the model that is chosen.
inline constexpr const char* choose_script = R"(<script>
(() => {
  const choose = document.getElementById('choose');
  const show = () => document.querySelectorAll('article[data-of]').forEach(a => { a.hidden = a.dataset.of !== choose.value; });
  choose.addEventListener('change', show); show();
})();
</script>
)";

inline constexpr const char* transfer_charts = R"(
  const band = sets => ({ id: 'band', beforeDatasetsDraw(c) {
    const { ctx, scales: { x, y } } = c;
    sets.forEach((s, i) => {
      if (!c.isDatasetVisible(i) || !s.band) return;
      ctx.save(); ctx.globalAlpha = 0.13; ctx.fillStyle = color('c' + s.color); ctx.beginPath();
      const at = s.points.map((p, k) => p && [x.getPixelForValue(k), p]).filter(Boolean);
      at.forEach(([px, p], k) => k ? ctx.lineTo(px, y.getPixelForValue(p.high)) : ctx.moveTo(px, y.getPixelForValue(p.high)));
      at.reverse().forEach(([px, p]) => ctx.lineTo(px, y.getPixelForValue(p.low)));
      ctx.closePath(); ctx.fill(); ctx.restore();
    });
  } });
  const levels = list => ({ id: 'levels', beforeDatasetsDraw(c) {
    const { ctx, chartArea: a, scales: { y } } = c;
    ctx.save(); ctx.strokeStyle = ctx.fillStyle = color('soft'); ctx.setLineDash([3, 4]); ctx.font = '12px system-ui, sans-serif'; ctx.textAlign = 'right'; ctx.textBaseline = 'bottom';
    list.forEach(l => { const at = y.getPixelForValue(l.y); ctx.beginPath(); ctx.moveTo(a.left, at); ctx.lineTo(a.right, at); ctx.stroke(); ctx.fillText(l.label, a.right - 2, at - 2); });
    ctx.restore();
  } });

  function curve(panel) {
    const sets = panel.series.map(s => ({ label: s.label, data: s.points.map(p => p && p.y), borderColor: color('c' + s.color), borderDash: s.dash, borderWidth: 2, spanGaps: true,
      pointRadius: 4, pointBackgroundColor: s.points.map(p => p && p.told ? color('c' + s.color) : color('page')), pointBorderColor: color('c' + s.color), tension: 0, hidden: s.hidden }));
    charts.push(new Chart(document.getElementById(panel.id), { type: 'line', plugins: [band(panel.series), levels(panel.chance)], data: { labels: panel.k, datasets: sets },
      options: { animation: false, maintainAspectRatio: false, interaction: { mode: 'nearest', intersect: false },
        scales: { x: { grid: { color: color('line') }, title: { display: true, text: 'k, examples in each seen language' } },
          y: { min: 0, max: panel.top, grid: { color: color('line') }, title: { display: true, text: panel.score } } },
        plugins: { legend: { position: 'bottom', labels: { boxWidth: 26, boxHeight: 0, padding: 8 } },
          tooltip: { callbacks: { title: t => 'k = ' + t[0].label, label: t => { const p = panel.series[t.datasetIndex].points[t.dataIndex];
            return t.dataset.label + ' ' + p.y.toFixed(3) + ' [' + p.low.toFixed(3) + ', ' + p.high.toFixed(3) + '], n = ' + p.n + (p.told ? '' : ', not told from chance'); } } } } } }));
  }

  const bars = points => ({ id: 'bars', afterDatasetsDraw(c) {
    const { ctx, chartArea: a, scales: { x, y } } = c, zero = x.getPixelForValue(0), inside = v => Math.min(Math.max(x.getPixelForValue(v), a.left), a.right);
    ctx.save(); ctx.strokeStyle = color('soft'); ctx.setLineDash([4, 3]); ctx.beginPath(); ctx.moveTo(zero, a.top); ctx.lineTo(zero, a.bottom); ctx.stroke(); ctx.setLineDash([]);
    ctx.lineWidth = 2;
    points.forEach((p, i) => {
      const at = y.getPixelForValue(i), has = p.low !== null, end = inside(p.mean);
      ctx.strokeStyle = ctx.fillStyle = color('c0');
      if (has && (p.low > 0 || p.high < 0)) ctx.fillRect(Math.min(zero, end), at - 6, Math.abs(end - zero), 12);
      ctx.strokeRect(Math.min(zero, end), at - 6, Math.abs(end - zero), 12);
      if (has) { ctx.strokeStyle = color('ink'); ctx.beginPath(); ctx.moveTo(inside(p.low), at); ctx.lineTo(inside(p.high), at); ctx.stroke(); }
    });
    ctx.restore();
  } });
  function interference(panel) {
    const canvas = document.getElementById(panel.id), s = panel.scale;
    canvas.parentNode.style.height = 84 + 22 * panel.points.length + 'px';
    charts.push(new Chart(canvas, { type: 'scatter', plugins: [bars(panel.points)],
      data: { datasets: [{ data: panel.points.map((p, i) => ({ x: p.mean, y: i })), pointRadius: 6, pointHoverRadius: 6, pointBackgroundColor: 'transparent', pointBorderColor: 'transparent' }] },
      options: { animation: false, maintainAspectRatio: false, layout: { padding: { right: 20 } },
        scales: { x: { min: -s, max: s, grid: { color: color('line') }, ticks: { stepSize: s / 2, maxRotation: 0, callback: v => signed(v, 2) }, title: { display: true, text: 'multi-task less single-task' } },
          y: { min: -1, max: panel.points.length, reverse: true, grid: { display: false }, ticks: { stepSize: 1, autoSkip: false, callback: v => panel.points[v] ? panel.points[v].label : '' } } },
        plugins: { legend: { display: false }, tooltip: { callbacks: { label: t => { const p = panel.points[t.dataIndex];
          return p.label + ' ' + signed(p.mean, 3) + (p.low === null ? '' : ' [' + signed(p.low, 3) + ', ' + signed(p.high, 3) + ']') + ', n = ' + p.n; } } } } } }));
  }

  function drawAll() {
    (data.curves || []).forEach(curve);
    (data.interference || []).forEach(interference);
  }
)";

}  // namespace bam::study::transfer
