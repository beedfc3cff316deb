from harmbench.report.style import Illustration, new_figure


def qc_figure(subject, scans, prepared, reference):
    return Illustration("qc", "", "", "", new_figure(2, 2), False, "qc")
