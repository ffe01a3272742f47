# The gain over BTX against the size of the trunk: gnuplot -e "table='X.csv'; plot_file='X.svg'" scripts/gains.gp
set datafile separator ','
set terminal svg size 820,460 dynamic font 'sans-serif,13' background '#ffffff'
set output plot_file
set logscale x
set format x '%.0s%c'
set xlabel 'trunk: parameters without embeddings'
set ylabel 'nats per token below BTX'
set xzeroaxis lt 1 lc rgb '#777777' dt 2
set grid ytics lc rgb '#dddddd'
set key outside bottom center horizontal maxrows 2
set offsets graph 0, 0, graph 0.08, graph 0.08
paper(s) = strstrt(s, 'paper') == 1
pick(arm, from_paper) = strcol(2) eq arm && paper(strcol(1)) == from_paper ? 1 : NaN
low(g) = strlen(strcol(6)) ? column(6) : g
high(g) = strlen(strcol(7)) ? column(7) : g
plot for [p = 0:1] for [k = 1:2] table every ::1 \
  using ($4 * pick(word('bam bam-shared-kv', k), p) * (k == 1 ? 1 : 1.06)):5:(low($5)):(high($5)) with yerrorbars \
  lc rgb word('#0072b2 #d55e00', k) pt (p ? 6 : 7) ps 1.1 lw 1.6 \
  title sprintf('%s%s', p ? 'paper: ' : '', k == 1 ? 'BAM, data-matched' : 'BAM-shared-kv, compute-matched')
