package e2e

import (
	"encoding/json"

	"braid/internal/topo"
)

func containsFence(routingJSON string) bool {
	var r topo.Routing
	return json.Unmarshal([]byte(routingJSON), &r) == nil && len(r.Fences) > 0
}
