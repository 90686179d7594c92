"""Results of a study and the page that tells them.

========================  ======================================================================
:class:`StudyResults`     all that a study found; ``save`` and ``load`` use plain files
:class:`SubjectResults`   scores per voxel of one subject
:class:`RsaResults`       representational geometry: tables and RDMs
:class:`EncoderResults`   several encoders side by side: comparisons, unique variance, :class:`Routing` maps, curves
:class:`DecoderResults`   what was decoded: scores with protocols, ranks, regions, captions, pictures (:class:`Shown`)
:func:`write_report`      one self-contained HTML file
:func:`summarise`         the tables behind it: group scores, best layers, ceilings
:func:`answer`            what was found, in sentences made from the numbers
:func:`methods`           the methods paragraphs that the configuration implies
========================  ======================================================================
"""

from neuro.report.decoder_results import DecoderResults, Shown
from neuro.report.encoder_results import EncoderResults, Routing
from neuro.report.methods import methods
from neuro.report.results import TABLE_COLUMNS, StudyResults, SubjectResults
from neuro.report.rsa_results import RsaResults
from neuro.report.summary import Summary, answer, summarise
from neuro.report.write import write_report

__all__ = [
    "TABLE_COLUMNS",
    "DecoderResults",
    "EncoderResults",
    "Routing",
    "RsaResults",
    "Shown",
    "StudyResults",
    "SubjectResults",
    "Summary",
    "answer",
    "methods",
    "summarise",
    "write_report",
]
