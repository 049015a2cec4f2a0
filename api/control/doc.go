// Package controlpb is the control API of a controller: topology and workflows. It is generated from control.proto, which
// documents each call.
package controlpb
