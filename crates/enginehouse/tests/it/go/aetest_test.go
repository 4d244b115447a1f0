// Package aet drives the bundled services as a test suite does that was written for the Go SDK: aetest starts dev_appserver.py, which is ours.
package aet

import (
	"bytes"
	"fmt"
	"testing"

	"golang.org/x/net/context"
	"google.golang.org/appengine"
	"google.golang.org/appengine/aetest"
	"google.golang.org/appengine/capability"
	"google.golang.org/appengine/memcache"
	"google.golang.org/appengine/user"
	"google.golang.org/appengine/xmpp"
)

func start(t *testing.T, appID string) (context.Context, func()) {
	inst, err := aetest.NewInstance(&aetest.Options{AppID: appID})
	if err != nil {
		t.Fatal(err)
	}
	req, err := inst.NewRequest("GET", "/", nil)
	if err != nil {
		t.Fatal(err)
	}
	return appengine.NewContext(req), func() {
		if err := inst.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	}
}

func TestServices(t *testing.T) {
	ctx, done := start(t, "shop")
	defer done()
	if id := appengine.AppID(ctx); id != "shop" {
		t.Errorf("AppID: %q", id)
	}
	t.Run("memcache", func(t *testing.T) { testMemcache(t, ctx) })
	t.Run("user", func(t *testing.T) { testUser(t, ctx) })
	if capability.Enabled(ctx, "datastore_v3", "write") {
		t.Error("there is a datastore")
	}
	if err := (&xmpp.Message{To: []string{"a@example.org"}, Body: "b"}).Send(ctx); err == nil {
		t.Error("XMPP was shut down and answers")
	}
}

func testMemcache(t *testing.T, ctx context.Context) {
	item := &memcache.Item{Key: "k", Value: []byte("v"), Flags: 7}
	if err := memcache.Add(ctx, item); err != nil {
		t.Fatalf("Add: %v", err)
	}
	if err := memcache.Add(ctx, item); err != memcache.ErrNotStored {
		t.Errorf("Add again: %v", err)
	}
	got, err := memcache.Get(ctx, "k")
	if err != nil || !bytes.Equal(got.Value, item.Value) || got.Flags != 7 {
		t.Fatalf("Get: %+v, %v", got, err)
	}
	got.Value = []byte("w")
	if err := memcache.CompareAndSwap(ctx, got); err != nil {
		t.Errorf("CompareAndSwap: %v", err)
	}
	if err := memcache.CompareAndSwap(ctx, got); err != memcache.ErrCASConflict {
		t.Errorf("CompareAndSwap again: %v", err)
	}
	if err := memcache.JSON.Set(ctx, &memcache.Item{Key: "j", Object: []int{1, 2}}); err != nil {
		t.Errorf("JSON.Set: %v", err)
	}
	var numbers []int
	if _, err := memcache.JSON.Get(ctx, "j", &numbers); err != nil || fmt.Sprint(numbers) != "[1 2]" {
		t.Errorf("JSON.Get: %v, %v", numbers, err)
	}
	if n, err := memcache.Increment(ctx, "n", 5, 10); n != 15 || err != nil {
		t.Errorf("Increment: %d, %v", n, err)
	}
	if n, err := memcache.Increment(ctx, "n", -100, 0); n != 0 || err != nil {
		t.Errorf("Increment below zero: %d, %v", n, err)
	}
	if _, err := memcache.IncrementExisting(ctx, "missing", 1); err != memcache.ErrCacheMiss {
		t.Errorf("IncrementExisting: %v", err)
	}
	space, err := appengine.Namespace(ctx, "other")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := memcache.Get(space, "k"); err != memcache.ErrCacheMiss {
		t.Errorf("another namespace: %v", err)
	}
	if err := memcache.DeleteMulti(ctx, []string{"k", "j"}); err != nil {
		t.Errorf("DeleteMulti: %v", err)
	}
	if err := memcache.Delete(ctx, "k"); err != memcache.ErrCacheMiss {
		t.Errorf("Delete again: %v", err)
	}
	if stats, err := memcache.Stats(ctx); err != nil || stats.Items == 0 {
		t.Errorf("Stats: %+v, %v", stats, err)
	}
	if err := memcache.Flush(ctx); err != nil {
		t.Errorf("Flush: %v", err)
	}
	if err := memcache.Set(ctx, &memcache.Item{Key: "big", Value: make([]byte, 1000001)}); err == nil {
		t.Error("a value that is too large was stored")
	}
}

func testUser(t *testing.T, ctx context.Context) {
	if url, err := user.LoginURL(ctx, "/back"); err != nil || url != "/_ah/login?continue=%2Fback" {
		t.Errorf("LoginURL: %q, %v", url, err)
	}
	if url, err := user.LogoutURL(ctx, "/"); err != nil || url != "/_ah/logout?continue=%2F" {
		t.Errorf("LogoutURL: %q, %v", url, err)
	}
	if u, err := user.CurrentOAuth(ctx); err != nil || u.Email != "example@example.com" {
		t.Errorf("CurrentOAuth: %+v, %v", u, err)
	}
}

func TestTwoAtOnce(t *testing.T) {
	first, doneFirst := start(t, "one")
	defer doneFirst()
	second, doneSecond := start(t, "one")
	defer doneSecond()
	if err := memcache.Set(first, &memcache.Item{Key: "k", Value: []byte("v")}); err != nil {
		t.Fatal(err)
	}
	if _, err := memcache.Get(second, "k"); err != memcache.ErrCacheMiss {
		t.Errorf("two servers share what they hold: %v", err)
	}
}
