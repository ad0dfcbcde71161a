"""Reports: what failed in a period, what recovered and how, what it cost, and what should be changed.

`gather` reads counts, letters, groups, circuits and operations into a `Report`. `advise` adds what its figures say,
purely. The rest shows it: as text (`cli/reporting.py`), as JSON (`Report.to_dict`), as one HTML page (`page.py`).
"""
