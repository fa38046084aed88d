package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/starling-db/starling/client"
)

func main() {
	ctx, cart := context.Background(), client.NewKey("cart:42", "")
	c := must(client.Open(ctx, []string{"127.0.0.1:7400"}))
	defer c.Close()
	must(c.Put(ctx, "default", cart, []byte("2 apples")))
	must(c.Put(ctx, "default", cart, []byte("3 pears"))) // has not seen the first, so it does not replace it
	read, all := must(c.Get(ctx, "default", cart, client.R(client.Quorum))), []string{}
	for _, sibling := range read.Versions {
		all = append(all, string(sibling.Value))
	}
	must(c.Put(ctx, "default", cart, []byte(strings.Join(all, ", ")), client.WithContext(read.Context)))
	fmt.Println(len(all), "siblings became one value:", strings.Join(all, ", "))
}

func must[T any](result T, err error) T {
	if err != nil {
		panic(err)
	}
	return result
}
