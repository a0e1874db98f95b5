//! Breaks a composed fabric on purpose and checks what must still hold. Nothing is here yet but the checks of the repository
//! itself in `tests/`; faults in a namespace lab are run by `lbfabric lab --faults`.
