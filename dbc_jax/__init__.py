"""Label-free re-identification by bottom-up clustering: BUC, DBC, E-cluster."""

__version__ = '0.1.0'
