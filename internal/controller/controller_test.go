package controller

import (
	"context"
	"net/http"
	"testing"

	"github.com/stretchr/testify/require"

	"braid/internal/base/log"
	"braid/internal/topo"
	"braid/internal/topo/memory"
)

func TestConfig(t *testing.T) {
	_, err := New(Config{}, Deps{Log: log.Discard()})
	require.ErrorContains(t, err, "grpc listen address is empty")
	require.ErrorContains(t, err, "id is empty")
}

func TestStartLivezStop(t *testing.T) {
	store := memory.New()
	defer store.Close()
	c, err := New(Config{GRPCListen: "127.0.0.1:0", HTTPListen: "127.0.0.1:0", ID: "one"}, Deps{Topo: topo.New(store), Log: log.Discard()})
	require.NoError(t, err)
	require.NoError(t, c.Start(context.Background()))
	resp, err := http.Get("http://" + c.live.String() + "/livez")
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	http.DefaultClient.CloseIdleConnections()

	again, err := New(Config{GRPCListen: c.addr.String(), ID: "two"}, Deps{Topo: topo.New(store), Log: log.Discard()})
	require.NoError(t, err)
	require.ErrorContains(t, again.Start(context.Background()), "control API")
	c.Stop()
	c.Stop()
}
