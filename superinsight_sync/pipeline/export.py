"""stub"""


def export_dataset(*a, **k):
    raise NotImplementedError
