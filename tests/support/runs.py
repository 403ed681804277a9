"""What came of a run, in short."""


def counts(report):
    return report.documents, report.pages, report.added, report.unchanged, report.removed


def best(retriever, question):
    return retriever.search(question, k=1)[0].ref
