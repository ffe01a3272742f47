// The report of a transfer study.
#pragma once
#include "report_html.hpp"
#include "report_page.hpp"
namespace bam::study::transfer {
inline std::string transfer_report(const io::Json&, const io::Json&, std::string_view) { return ""; }
}
