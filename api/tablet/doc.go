// Package tabletpb is the service of a tablet towards other tablets and the controller: streams, fences, schema, journal. It is
// generated from tablet.proto, which documents each call.
package tabletpb
