from dataclasses import dataclass


@dataclass
class QcColumn:
    name: str
    title: str
    unit: str
    digits: int
    explanation: str


def write_qc_page(root, **k):
    (root / "qc.html").write_text(repr(k))
    return root / "qc.html"
