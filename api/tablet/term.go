package tabletpb

// TermKey is the metadata key under which a controller says in which term of leadership it makes a call. A call that changes something
// and carries an earlier term than the tablet has heard of is refused.
const TermKey = "braid-term"
