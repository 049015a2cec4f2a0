package errs

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

const domain = "braid"

// ToGRPC makes err an error that a gRPC handler may return: the status carries the entry, the text, the cause and the
// steps. nil stays nil.
func ToGRPC(err error) error {
	if err == nil {
		return nil
	}
	e := Of(err)
	meta := map[string]string{"text": e.Text, "steps": strings.Join(e.Steps, "\n")}
	if e.Cause != nil {
		meta["cause"] = e.Cause.Error()
	}
	if RetryOf(err) == RetryUnknown {
		meta["unknown"] = "1"
	}
	st := status.New(e.GRPC, e.Code+" "+e.Error())
	detailed, derr := st.WithDetails(&errdetails.ErrorInfo{Reason: e.Code, Domain: domain, Metadata: meta})
	if derr != nil {
		return st.Err()
	}
	return detailed.Err()
}

// FromGRPC is what a client makes of a call's error: the occurrence that the other side sent. An error that the other
// side did not make (a cut, a deadline) becomes PeerUnreachable, Timeout or Canceled. nil stays nil.
func FromGRPC(err error) error {
	if err == nil {
		return nil
	}
	st, ok := status.FromError(err)
	if !ok {
		return err
	}
	for _, d := range st.Details() {
		if info, ok := d.(*errdetails.ErrorInfo); ok && info.GetDomain() == domain {
			return fromInfo(info, st.Message())
		}
	}
	switch st.Code() {
	case codes.Unavailable:
		return &Error{Def: PeerUnreachable, Text: PeerUnreachable.Text, Cause: err}
	case codes.DeadlineExceeded:
		return &Error{Def: Timeout, Text: Timeout.Text, Cause: context.DeadlineExceeded}
	case codes.Canceled:
		return &Error{Def: Canceled, Text: Canceled.Text, Cause: context.Canceled}
	case codes.Unimplemented:
		return &Error{Def: PeerUnreachable, Text: "the other side does not know this call: a different version of braid", Cause: err}
	}
	return err
}

func fromInfo(info *errdetails.ErrorInfo, message string) error {
	d := Lookup(info.GetReason())
	if d == nil { // of a newer version
		return &Error{Def: Internal, Text: message}
	}
	meta := info.GetMetadata()
	e := &Error{Def: d, Text: meta["text"]}
	if cause := meta["cause"]; cause != "" {
		e.Cause = errors.New(cause)
	}
	if steps := meta["steps"]; steps != "" {
		e.Steps = strings.Split(steps, "\n")
	}
	e.unknown = meta["unknown"] != ""
	return e
}
