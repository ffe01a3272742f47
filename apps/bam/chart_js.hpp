// Chart.js, from its Debian package, inside the program: a report must open without a network.
#pragma once
#include <string_view>

namespace bam::app {

std::string_view chart_js();  // report.cpp

}  // namespace bam::app
